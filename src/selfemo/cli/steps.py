"""The steps of a round, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli import complete
from selfemo.cli.base import configured, known, surroundings
from selfemo.cli.output import Report, reports
from selfemo.errors import UserError

if TYPE_CHECKING:
    from selfemo.config import Config

ROUND = click.option(
    "--round", "number", type=click.IntRange(1), default=1, show_default=True, help="Number of the round."
)


def _made_by(config: Config, step: str, option: str, uri: str) -> None:
    """Refuse an artifact of another step: it holds other files.

    Raises:
        UserError: Names the option, and the step that made what was given.
    """
    from selfemo.policy import names

    manifest = surroundings(config, needs=names.needs(uri)).store.manifest(uri)
    if manifest is not None and manifest.step != step:
        fix = f"give the URI of what {step} has published"
        raise UserError(f"{manifest.step} made this", where=f"{option} {uri}", fix=fix)


@click.command()
@configured
@click.option(
    "--policy",
    required=True,
    help="Weights: URI of a step's artifact, models:/..., a directory, a hub id.",
    shell_complete=complete.policies,
)
@click.option("--prepared", required=True, help="URI of the prepared data.")
@ROUND
@reports("uri")
def generate(config: Config, policy: str, prepared: str, number: int) -> Report:
    """Self-play of one round; prints the URI of the rollouts.

    \b
    Example:
      selfemo generate --policy models:/self-emo@champion --prepared s3://selfemo/demo/round-0/prepare-1f0c...
    """
    from selfemo import steps

    _made_by(config, "prepare", "--prepared", prepared)
    uri = steps.self_play(config, policy, prepared, number).uri
    return Report({"uri": uri}, uri)


@click.command("filter")
@configured
@click.option("--rollouts", required=True, help="URI of the rollouts.")
@ROUND
@reports("uri", "reasons")
def filter_(config: Config, rollouts: str, number: int) -> Report:
    """Keep what is worth training on; prints the URI of the samples and what was rejected, by reason.

    \b
    Example:
      selfemo filter --rollouts s3://selfemo/demo/round-1/gather-5d2a... --set flywheel.tau_low=0.4
    """
    from selfemo import steps

    _made_by(config, "gather", "--rollouts", rollouts)
    done = steps.filter(config, rollouts, number)
    reasons = dict(sorted(done.result["reasons"].items(), key=lambda item: -item[1]))
    lines = [f"  {reason:<16} {count:>6}" for reason, count in reasons.items()]
    return Report({"uri": done.uri, "reasons": reasons}, "\n".join([done.uri, *lines]))


@click.command()
@configured
@click.option(
    "--policy",
    help="URI of the round's policy; without it, the supervised warm-up is trained.",
    shell_complete=complete.policies,
)
@click.option("--samples", help="URI of the training samples.")
@click.option("--prepared", help="URI of the prepared data.")
@ROUND
@reports("uri")
def train(config: Config, policy: str | None, samples: str | None, prepared: str | None, number: int) -> Report | None:
    """Train with SELF-GRPO on samples, or warm up on prepared data; prints the URI of the policy.

    With launch.processes or launch.strategy set it starts the processes itself; under torchrun it is one of them.

    \b
    Examples:
      selfemo train --prepared s3://selfemo/demo/round-0/prepare-1f0c...
      selfemo train --prepared s3://... --policy s3://.../warmup-77ab... --samples s3://.../filter-08c1...
    """
    from selfemo import processes, steps

    if processes.launched():
        processes.die_with_parent()
    for step, option, uri in (("prepare", "--prepared", prepared), ("filter", "--samples", samples)):
        if uri:
            _made_by(config, step, option, uri)
    if prepared and policy and samples:
        uri = steps.train(config, policy, samples, prepared, number).uri
    elif prepared and not policy and not samples:
        uri = steps.warmup(config, prepared).uri
    else:
        fix = "give --prepared alone, or --prepared, --policy and --samples"
        raise UserError("nothing to train on", where="selfemo train", fix=fix)
    return Report({"uri": uri}, uri) if processes.rank() == 0 else None


@click.command()
@configured
@click.option(
    "--policy",
    required=True,
    help="Weights: URI, models:/name@alias, a directory, a hub id.",
    shell_complete=complete.policies,
)
@click.option(
    "--corpus", help="Evaluate on this corpus instead of the configuration's.", shell_complete=complete.corpora
)
@click.option("--path", "directory", help="Directory of that corpus.", shell_complete=complete.directories)
@click.option("--out", type=click.Path(path_type=Path), help="Also keep predictions and metrics here.")
@reports("policy", "split", "scores")
def evaluate(config: Config, policy: str, corpus: str | None, directory: str | None, out: Path | None) -> Report:
    """Score a policy on held-out dialogues.

    \b
    Example:
      selfemo evaluate --policy models:/self-emo@champion --corpus meld --path ../data/meld
    """
    from selfemo.cli.evaluation import scores_of, show
    from selfemo.policy import names

    if directory and not corpus:
        raise UserError("--path is of a corpus", where="selfemo evaluate", fix="name the corpus: --corpus meld")
    if corpus:
        named = {c.name for c in config.corpora}
        config = _on(config, corpus if corpus in named else known(corpus, directory), directory, policy)
    surroundings(config, needs=names.needs(policy))
    scores, split = scores_of(config, policy, out), config.evaluation.split
    return Report({"policy": policy, "split": split, "scores": scores}, lambda: show(scores, split))


def _on(config: Config, corpus: str, directory: str | None, policy: str) -> Config:
    """The configuration with one corpus; if no labels lie beside it, they are those that the policy was taught."""
    from selfemo.config import validate
    from selfemo.config.reading import with_labels
    from selfemo.context import Context
    from selfemo.data.corpora.table import CORPORA
    from selfemo.data.label_file import LabelFile

    def place(_: object) -> str:
        return "--corpus"

    own = next((c.model_dump(mode="json") for c in config.corpora if c.name == corpus), {})
    one: dict[str, Any] = {**own, "name": corpus} | ({"path": directory} if directory else {})
    data = with_labels(config.model_dump(mode="json") | {"corpora": [one]}, place)
    if corpus not in CORPORA and "labels" not in data["corpora"][0]:
        taught = Context(config).policies.find(policy).taught
        if corpus in taught:
            data["corpora"] = [{**one, "labels": LabelFile.of(taught[corpus]).model_dump(mode="json")}]
    return validate(data, place)
