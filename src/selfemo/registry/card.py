"""The model card of a version: what it learnt from, how it did, what the gate saw, what it is not good for.

Markdown with the front matter that model hubs read. It holds figures, fixed words and the configuration's own names:
nothing that a model or a corpus wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from selfemo.config import Config
from selfemo.data.corpora.table import CORPORA
from selfemo.method import gate
from selfemo.method.gate import Decision
from selfemo.registry.markdown import code, escaped, table
from selfemo.registry.promotion import decisions
from selfemo.registry.rounds import HEADERS, RoundRow, cells
from selfemo.registry.surroundings import Surroundings
from selfemo.store.artifacts import Manifest

OWN_TERMS = "a corpus of its user's own: not stated"
SHIPPED = """\
- It reads emotions as the annotators of its corpora did: acted or scripted English dialogue, a handful of labels. In
  other languages, domains and cultures its figures do not hold."""
OWN = """\
- It reads emotions as those did who labelled its corpora, in the conversations and the language of these. In others its
  figures do not hold."""
LIMITS = """\
- Labels it saw seldom it finds seldom: see F1 by label.
- From round 1 on it learnt from labels it gave itself. What it was wrong about with confidence, it may be surer of now.
- Its replies are for study. They were filtered for form and consistency of emotion, not for safety.
- It must not decide over people: no employment, education, policing, insurance, or diagnosis."""


def model_card(context: Surroundings, decision: Manifest, version: str, weights: str, digest: str) -> str:
    """The card of the version that a round registered.

    Args:
        context: Of the run.
        decision: Manifest of the round's decision.
        version: Number in the registry.
        weights: URI of its weights.
        digest: Of their files.
    """
    config = context.config
    row = RoundRow.from_dict(decision.result["row"])
    name = f"{escaped(config.mlflow.model)} version {version}"
    head = [
        _front_matter(config, _metrics(context, decision)),
        f"# {name}",
        f"Round {row.round} of run {config.run}: a policy that recognises emotions in conversation and replies with "
        f"them, made from {code(config.policy.base)} by SELF-EMO (arXiv 2604.18003).",
    ]
    parts = [f"## {title}\n\n{text}" for title, text in sections(context, decision, weights, digest).items()]
    return "\n\n".join([*head, *parts]) + "\n"


def sections(context: Surroundings, decision: Manifest, weights: str, digest: str) -> dict[str, str]:
    """The sections of a card by title, in order; the arguments are those of :func:`model_card`."""
    config = context.config
    row = RoundRow.from_dict(decision.result["row"])
    rounds = [RoundRow.from_dict(d.result["row"]) for d in decisions(context)]
    rounds = [r for r in rounds if r.round < row.round] + [row]
    return {
        "Data": _data(context, config),
        "Rounds": table(HEADERS, [cells(r) for r in rounds]),
        "Figures on held-out dialogues": "\n\n".join(_figures(_metrics(context, decision))),
        "Gate": _gate(config, Decision.from_dict(decision.result), decision),
        "Limits": f"{SHIPPED if _shipped(config) else OWN}\n{LIMITS}",
        "Licence": _licence(config),
        "Where it comes from": _provenance(context, weights, digest, decision),
    }


def _metrics(context: Surroundings, decision: Manifest) -> dict[str, Any]:
    """The figures of what a round registered."""
    scored = context.store.fetch(str(decision.inputs["scores"]))
    return dict(json.loads((scored / "metrics.json").read_text()))


def _front_matter(config: Config, metrics: Mapping[str, Any]) -> str:
    corpus = config.corpora[0].name
    scored = "train, labelled dialogues kept for selection" if config.warmup.selection else config.evaluation.split
    row = {
        **({"language": "en"} if _shipped(config) else {}),
        "license": config.mlflow.licence or "unknown",
        "base_model": config.policy.base,
        "pipeline_tag": "text-generation",
        "tags": ["emotion-recognition-in-conversation", "self-emo"],
        "metrics": [
            {
                "type": kind,
                "name": f"{kind} on {corpus} {scored}",
                "value": round(metrics[corpus][kind], 4),
            }
            for kind in ("accuracy", "weighted_f1")
        ],
    }
    return f"---\n{yaml.safe_dump(row, sort_keys=False, width=1000)}---"


def _shipped(config: Config) -> bool:
    """Whether every corpus is one that this project knows: they are all in English."""
    return all(corpus.name in CORPORA for corpus in config.corpora)


def _data(context: Surroundings, config: Config) -> str:
    tags = context.registry.client.get_run(context.registry.parent).data.tags
    prepared = context.store.manifest(tags.get("selfemo.prepared", ""))
    counts = prepared.result if prepared else {}
    rows = [(code(c.name), CORPORA[c.name].terms if c.name in CORPORA else OWN_TERMS) for c in config.corpora]
    held = (
        "kept from the labelled ones for selection" if config.warmup.selection else f"{config.evaluation.split} split"
    )
    lines = [
        *(f"- {name}: {terms} (terms, as its authors state them)" for name, terms in rows),
        f"- labelled dialogues of the warm-up: {counts.get('warmup_dialogues', '-')}",
        f"- training dialogues, used without their labels: {counts.get('training_dialogues', '-')}",
        f"- held-out dialogues ({held}): {counts.get('held_out_dialogues', '-')}",
        f"- utterances left out of training since a held-out split has them: {counts.get('leaked_utterances', '-')}, "
        f"since a dialogue kept for selection has them: {counts.get('selection_copies', '-')}",
    ]
    return "\n".join(lines)


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    parts = []
    for corpus, values in metrics.items():
        rows = []
        for name, value in values.items():
            if isinstance(value, (int, float)):
                low, high = values.get(f"{name}_interval", (None, None))
                spread = "" if low is None else f" [{low:.3f}, {high:.3f}]"
                rows.append((name, (str(value) if isinstance(value, int) else f"{value:.3f}") + spread))
        surest = values.get("accuracy_of_surest") or {}
        rows += [(f"accuracy of the surest {float(s):.0%}", f"{value:.3f}") for s, value in surest.items()]
        support = values.get("support") or {}
        for label, value in (values.get("f1") or {}).items():
            turns = f" ({support[label]} turns)" if label in support else ""
            rows.append((f"F1 {escaped(label)}", f"{value:.3f}{turns}"))
        rows += [(f"F1 in sets {escaped(label)}", f"{v:.3f}") for label, v in (values.get("sets_f1") or {}).items()]
        parts.append(f"**{corpus}**\n\n" + table(("measure", "value [95 %, bootstrap over dialogues]"), rows))
    return parts


def _gate(config: Config, decision: Decision, made: Manifest) -> str:
    lines = [f"{'Passed' if decision.promoted else 'Closed'}: {escaped(decision.reason)}."]
    if decision.gains:
        how = f"p is of a paired permutation test over dialogues; {config.corpora[0].name} is the gate corpus."
        lines += ["", table(gate.HEADERS, decision.cells()), "", f"Gains are over the champion before; {how}"]
    lines += [
        "",
        f"Compared with the scores at {code(str(made.inputs['champion_scores']) or 'none')}.",
        "What became of the version since is in its tags in the registry.",
    ]
    return "\n".join(lines)


def _licence(config: Config) -> str:
    base = (
        f"The base model's: {escaped(config.mlflow.licence)}."
        if config.mlflow.licence
        else (
            "Nobody has stated the base model's licence (mlflow.licence): look it up before you use or share these "
            "weights."
        )
    )
    return f"{base} The terms of the corpora above apply as well."


def _provenance(context: Surroundings, weights: str, digest: str, decision: Manifest) -> str:
    config, parent = context.config, str(decision.inputs["champion"]) or "none"
    data = context.registry.client.get_run(context.registry.parent).data.tags.get("selfemo.prepared", "")
    rows = [
        ("weights", code(weights)),
        ("digest", code(digest)),
        ("parent", code(parent)),
        ("data", code(data or "none")),
        ("scores", code(decision.inputs["scores"])),
        ("code", code(decision.code)),
        ("seed", str(config.seed)),
        ("configuration", "config.json in the MLflow run"),
    ]
    return "\n".join(f"- {name}: {what}" for name, what in rows)
