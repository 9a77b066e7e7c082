"""The flywheel as a pipeline: rounds as a flat chain of gated sub-pipelines.

KFP v2 has no recursion, so rounds are unrolled. A round's gate is an input parameter of its sub-pipeline: a
condition on a field of a task's output, or on a OneOf, is silently skipped by the local runner. Self-play and
evaluation fan out over the shards that `prepare` counts, and a light step brings them together.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.carry.component import carry
from components.decide.component import decide
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_rollouts
from components.gather.component import gather
from components.generate.component import generate
from components.prepare.component import prepare
from components.report.component import report
from components.score.component import score
from components.train.component import train
from components.warmup.component import warmup
from pipelines.place import place
from selfemo.pods import Cluster


class State(NamedTuple):
    """What one round hands to the next."""

    policy: str
    scores: str
    misses: int
    go_on: bool


def one_round(cluster: Cluster) -> BaseComponent:
    """One turn of the flywheel, as a pipeline of its own.

    Args:
        cluster: What its steps may use.
    """

    @dsl.pipeline(name="selfemo-round", display_name="Round", description="One turn of the flywheel, if it goes on.")
    def turn(
        config: str, prepared: str, shards: list[int], round: int, policy: str, scores: str, misses: int, go_on: bool
    ) -> NamedTuple("State", [("policy", str), ("scores", str), ("misses", int), ("go_on", bool)]):
        with dsl.If(go_on == True, name="goes-on"):  # noqa: E712 - kfp builds the condition from this comparison
            where = {"config": config, "round": round}
            with dsl.ParallelFor(shards, name="self-play") as shard:
                played = generate(policy=policy, prepared=prepared, shard=shard, **where)
                place(played, "generate", cluster)
            rollouts = gather(parts=dsl.Collected(played.output), policy=policy, prepared=prepared, **where)
            samples = filter_rollouts(rollouts=rollouts.outputs["Output"], **where)
            challenger = train(policy=policy, samples=samples.outputs["Output"], prepared=prepared, **where)
            trained = challenger.outputs["Output"]
            with dsl.ParallelFor(shards, name="evaluation") as shard:
                answered = evaluate(policy=trained, prepared=prepared, shard=shard, **where)
                place(answered, "evaluate", cluster)
            scored = score(parts=dsl.Collected(answered.output), policy=trained, prepared=prepared, **where)
            decided = decide(
                champion=policy,
                champion_scores=scores,
                misses=misses,
                challenger=trained,
                challenger_scores=scored.outputs["Output"],
                **where,
            )
            tasks = {"gather": rollouts, "filter": samples, "train": challenger, "score": scored, "decide": decided}
            for step, task in tasks.items():
                place(task, step, cluster)
        with dsl.Else(name="stopped"):
            carried = place(carry(policy=policy, scores=scores, misses=misses), "carry", cluster)
        fields = (dsl.OneOf(decided.outputs[f], carried.outputs[f]) for f in State._fields)
        return State(*fields)  # type: ignore[return-value]

    return turn


def loop(rounds: int, cluster: Cluster) -> BaseComponent:
    """The whole pipeline, unrolled for up to ``rounds`` rounds; a run's configuration may ask for fewer.

    Args:
        rounds: At most 10: the compiled form grows with it.
        cluster: What steps may use, and where they run.
    """
    turn = one_round(cluster)

    @dsl.pipeline(
        name=f"selfemo-{rounds}",
        display_name=f"self-emo, up to {rounds} rounds",
        description="A data flywheel: self-play, filter, SELF-GRPO, evaluation and promotion, round after round.",
    )
    def selfemo(config: str) -> None:
        with dsl.ExitHandler(place(report(config=config), "report", cluster), name="flywheel"):
            where = {"config": config, "round": 0}
            data = place(prepare(config=config), "prepare", cluster)
            prepared, shards = data.outputs["prepared"], data.outputs["shards"]
            warm = place(warmup(config=config, prepared=prepared), "warmup", cluster)
            base = warm.outputs["Output"]
            with dsl.ParallelFor(shards, name="evaluation") as shard:
                answered = evaluate(policy=base, prepared=prepared, shard=shard, **where)
                place(answered, "evaluate", cluster)
            scored = score(parts=dsl.Collected(answered.output), policy=base, prepared=prepared, **where)
            place(scored, "score", cluster)
            start = {"champion": "", "champion_scores": "", "misses": 0}
            state = decide(challenger=base, challenger_scores=scored.outputs["Output"], **start, **where)
            place(state, "decide", cluster)
            for number in range(1, rounds + 1):
                fields = {f: state.outputs[f] for f in State._fields}
                state = turn(config=config, prepared=prepared, shards=shards, round=number, **fields)
                state.set_display_name(f"Round {number}")

    return selfemo
