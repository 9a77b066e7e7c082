"""How far a policy's readings can be trusted: what its evaluation says, wherever that is kept."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.data.corpora.table import spaces_in
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Prediction, read_records
from selfemo.errors import UserError
from selfemo.method.abstain import (
    CALIBRATION,
    LEAST,
    Calibration,
    OperatingPoint,
    best_precision,
    calibrate,
    for_precision,
    kept_at,
    read_calibration,
)
from selfemo.method.evaluation import PREDICTIONS
from selfemo.policy import names
from selfemo.store.manifest import MANIFEST

if TYPE_CHECKING:
    from selfemo.context import Context
    from selfemo.policies import Policy

log = logging.getLogger(__name__)

SCORES = "selfemo.scores"
"""Tag of a version: URI of its evaluation."""


@dataclass(frozen=True)
class Belief:
    """How readings are calibrated, and when to abstain.

    Attributes:
        temperature: 1 where nothing is known.
        threshold: Confidence below which it abstains.
        kept: What the threshold came to on held-out turns, where that is known.
        source: Where that was found; empty if nowhere.
    """

    temperature: float
    threshold: float
    kept: OperatingPoint | None = None
    source: str = ""


def evaluation_of(context: Context, name: str, policy: Policy) -> str:
    """Where the evaluation of a policy is: as its version in the registry says, or beside its weights; else empty.

    Args:
        context: Of the command.
        name: As the policy was asked for.
        policy: What it stands for.
    """
    if names.kind(name) is names.Kind.REGISTERED:
        return str(context.registry.versions.named(name).tags.get(SCORES, ""))
    if policy.manifest is None:
        return ""
    of_round = policy.uri.rpartition("/")[0]
    for file in sorted(context.store.backend(policy.uri).list(of_round)):
        if re.fullmatch(rf"{re.escape(of_round)}/score-[^/]+/{re.escape(MANIFEST)}", file):
            uri = file.removesuffix(f"/{MANIFEST}")
            manifest = context.store.manifest(uri)
            if manifest is not None and manifest.inputs.get("policy") == policy.uri:
                return uri
    return ""


def known_of(context: Context, evaluation_uri: str, corpus: str, space: LabelSpace) -> Calibration | None:
    """What an evaluation says of the labels that are to be read; None if it knows none such.

    Args:
        context: Of the command.
        evaluation_uri: URI of an artifact, or a directory that ``selfemo evaluate --out`` wrote.
        corpus: Whose labels.
        space: These labels.

    Raises:
        UserError: If there is no evaluation.
    """
    directory = context.store.fetch(evaluation_uri) if "://" in evaluation_uri else Path(evaluation_uri)
    if (directory / CALIBRATION).is_file():
        known = read_calibration(directory / CALIBRATION)
    elif (directory / PREDICTIONS).is_file():  # of an older version
        known = {}
        rows, spaces = list(read_records(directory / PREDICTIONS, Prediction)), spaces_in(directory)
        for corpus in dict.fromkeys(row.corpus for row in rows):
            of_corpus = [row for row in rows if row.corpus == corpus]
            if corpus in spaces and all(len(r.posterior) == len(spaces[corpus].answers) for r in of_corpus):
                known[corpus] = calibrate(of_corpus, spaces[corpus])
    else:
        fix = "give the directory that `selfemo evaluate --out` wrote, or the URI of a run's scores"
        raise UserError("no evaluation is here", where=f"--scores {evaluation_uri}", fix=fix)
    found = known.get(corpus)
    return found if found and found.labels == space.labels else None


def belief_of(known: Calibration | None, source: str, corpus: str, precision: float, threshold: float | None) -> Belief:
    """How readings will be calibrated, and when to abstain; says what is missing.

    Args:
        known: What an evaluation says, if there is one.
        source: Where that is.
        corpus: Whose labels are read.
        precision: Share of right answers among those that are kept; not looked at where a threshold is given.
        threshold: That somebody chose.

    Raises:
        UserError: If nothing is known and no threshold given, or no threshold has that precision.
    """
    evaluate = "selfemo evaluate --policy ... --corpus ... --out DIR, and give --scores DIR"
    if known is None:
        what = (
            f"the evaluation {source} has no turns with the labels of {corpus}"
            if source
            else ("no evaluation of this policy is known")
        )
        if threshold is None:
            fix = f"make one: {evaluate}; or choose a --threshold yourself (0: abstain from nothing)"
            raise UserError(f"{what}: nothing says how often it is right", where="--precision", fix=fix)
        log.warning("%s: the probabilities are the policy's own, not calibrated", what)
        return Belief(1.0, threshold)
    if threshold is not None:
        return Belief(known.temperature, threshold, kept_at(known, threshold), source)
    kept = for_precision(known, precision)
    if kept is None:
        best = best_precision(known)
        why = (
            f"its evaluation has {len(known.right)} turns, and a threshold has to rest on {LEAST}"
            if best is None
            else f"on {LEAST} of its {len(known.right)} held-out turns or more it is right {best:.1%} at best"
        )
        fix = "ask for less, or choose a --threshold yourself (0: abstain from nothing)"
        raise UserError(f"no threshold has a precision of {precision:g}: {why}", where="--precision", fix=fix)
    return Belief(known.temperature, kept.threshold, kept, source)
