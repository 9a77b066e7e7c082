"""The flywheel as a pipeline: rounds as a flat chain of gated sub-pipelines.

KFP v2 has no recursion, so rounds are unrolled. A round's gate is an input parameter of its sub-pipeline: a
condition on a field of a task's output, or on a OneOf, is silently skipped by the local runner.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.carry.component import carry
from components.decide.component import decide
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_rollouts
from components.generate.component import generate
from components.prepare.component import prepare
from components.report.component import report
from components.train.component import train
from components.warmup.component import warmup


class State(NamedTuple):
    """What one round hands to the next."""

    policy: str
    scores: str
    misses: int
    go_on: bool


@dsl.pipeline(name="selfemo-round", display_name="Round", description="One turn of the flywheel, if it goes on.")
def one_round(config: str, prepared: str, round: int, policy: str, scores: str, misses: int, go_on: bool) -> NamedTuple(
    "State", [("policy", str), ("scores", str), ("misses", int), ("go_on", bool)]
):
    """Generate, filter, train, evaluate, decide; or carry the state on."""
    with dsl.If(go_on == True, name="goes-on"):  # noqa: E712 - kfp builds the condition from this comparison
        rollouts = generate(config=config, policy=policy, prepared=prepared, round=round)
        samples = filter_rollouts(config=config, rollouts=rollouts.output, round=round)
        challenger = train(config=config, policy=policy, samples=samples.output, prepared=prepared, round=round)
        new_scores = evaluate(config=config, policy=challenger.output, prepared=prepared, round=round)
        decided = decide(
            config=config,
            champion=policy,
            champion_scores=scores,
            misses=misses,
            challenger=challenger.output,
            challenger_scores=new_scores.output,
            round=round,
        )
        names = {
            rollouts: "Self-play",
            samples: "Filter",
            challenger: "SELF-GRPO",
            new_scores: "Evaluate",
            decided: "Decide",
        }
        for task, name in names.items():
            # A finished step returns at once by its manifest; KFP's own cache knows nothing of the library inside.
            task.set_display_name(name).set_caching_options(False).set_retry(2, "10s", 2.0, "60s")
    with dsl.Else(name="stopped"):
        carried = carry(policy=policy, scores=scores, misses=misses).set_display_name("Carry on")
    fields = (dsl.OneOf(decided.outputs[f], carried.outputs[f]) for f in State._fields)
    return State(*fields)  # type: ignore[return-value]


def loop(rounds: int) -> BaseComponent:
    """The whole pipeline, unrolled for up to ``rounds`` rounds; a run's configuration may ask for fewer.

    Args:
        rounds: At most 10: the compiled form grows with it.
    """

    @dsl.pipeline(
        name=f"selfemo-{rounds}",
        display_name=f"self-emo, up to {rounds} rounds",
        description="A data flywheel: self-play, filter, SELF-GRPO, evaluation and promotion, round after round.",
    )
    def selfemo(config: str) -> None:
        with dsl.ExitHandler(report(config=config).set_display_name("Report"), name="flywheel"):
            data = prepare(config=config).set_display_name("Prepare")
            base = warmup(config=config, prepared=data.output).set_display_name("Warm-up")
            scores = evaluate(config=config, policy=base.output, prepared=data.output, round=0)
            first = decide(
                config=config,
                champion="",
                champion_scores="",
                misses=0,
                challenger=base.output,
                challenger_scores=scores.output,
                round=0,
            )
            for task, name in ((data, "Prepare"), (base, "Warm-up"), (scores, "Evaluate"), (first, "Decide")):
                task.set_display_name(name).set_caching_options(False).set_retry(2, "10s", 2.0, "60s")
            state = first
            for number in range(1, rounds + 1):
                fields = {f: state.outputs[f] for f in State._fields}
                state = one_round(config=config, prepared=data.output, round=number, **fields)
                state.set_display_name(f"Round {number}")

    return selfemo
