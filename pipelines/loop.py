"""The flywheel as a pipeline: rounds as a flat chain of gated sub-pipelines.

KFP v2 has no recursion, so rounds are unrolled, in two halves each. A half's gate is an input parameter of its
sub-pipeline: a condition on a field of a task's output, or on a OneOf, is silently skipped by the local runner.
Self-play and evaluation fan out over the shards that `prepare` counts; the step that comes after puts them
together.
"""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.carry.component import carry
from components.decide.component import decide
from components.evaluate.component import evaluate
from components.filter.component import filter as filter_rollouts
from components.generate.component import generate
from components.images import Images
from components.prepare.component import prepare
from components.report.component import report
from components.train.component import train
from components.warmup.component import warmup
from pipelines.place import place
from selfemo.config.cluster import ClusterSettings
from selfemo.loop import LoopState


def learn(cluster: ClusterSettings, images: Images) -> BaseComponent:
    """The first half of a round, as a pipeline of its own: self-play, filter, SELF-GRPO; nothing once the loop is over.

    Args:
        cluster: What its steps may use.
        images: That its steps run in.
    """

    @dsl.pipeline(name="selfemo-learn", display_name="Play and learn", description="Self-play, filter, SELF-GRPO.")
    def half(config: str, prepared: str, shards: list[int], round: int, policy: str, go_on: bool) -> str:
        with dsl.If(go_on == True, name="goes-on"):  # noqa: E712 - kfp builds the condition from this comparison
            where = {"config": config, "round": round}
            with dsl.ParallelFor(shards, name="self-play") as shard:
                played = generate(policy=policy, prepared=prepared, shard=shard, **where)
                place(played, "generate", cluster, images)
            samples = filter_rollouts(shards=dsl.Collected(played.output), policy=policy, prepared=prepared, **where)
            trained = train(policy=policy, samples=samples.outputs["Output"], prepared=prepared, **where)
            for step, task in {"filter": samples, "train": trained}.items():
                place(task, step, cluster, images)
        with dsl.Else(name="stopped"):
            carried = place(carry(policy=policy, scores="", misses=0), "carry", cluster, images)
        return dsl.OneOf(trained.outputs["Output"], carried.outputs["policy"])  # type: ignore[no-any-return]  # kfp has no types

    return half


def evaluate_and_decide(cluster: ClusterSettings, images: Images) -> BaseComponent:
    """The second half of a round: evaluation and decision, or the state as it is once the loop is over.

    A pipeline of its own because the local runner hands a loop nothing but its pipeline's inputs: it puts the loop's
    item in place of the output of a task.

    Args:
        cluster: What its steps may use.
        images: That its steps run in.
    """

    @dsl.pipeline(name="selfemo-judge", display_name="Judge", description="Evaluation, and what becomes of the policy.")
    def half(
        config: str,
        prepared: str,
        shards: list[int],
        round: int,
        challenger: str,
        policy: str,
        scores: str,
        misses: int,
        go_on: bool,
    ) -> LoopState:
        with dsl.If(go_on == True, name="goes-on"):  # noqa: E712 - kfp builds the condition from this comparison
            where = {"config": config, "round": round}
            with dsl.ParallelFor(shards, name="evaluation") as shard:
                answered = evaluate(policy=challenger, prepared=prepared, shard=shard, **where)
                place(answered, "evaluate", cluster, images)
            decided = decide(
                policy=policy,
                scores=scores,
                misses=misses,
                challenger=challenger,
                shards=dsl.Collected(answered.output),
                prepared=prepared,
                **where,
            )
            place(decided, "decide", cluster, images)
        with dsl.Else(name="stopped"):
            carried = place(carry(policy=policy, scores=scores, misses=misses), "carry", cluster, images)
        fields = (dsl.OneOf(decided.outputs[f], carried.outputs[f]) for f in LoopState._fields)
        return LoopState(*fields)

    return half


def loop(rounds: int, cluster: ClusterSettings, images: Images) -> BaseComponent:
    """The whole pipeline, unrolled for up to ``rounds`` rounds; a run's configuration may ask for fewer.

    Args:
        rounds: At most 10: the compiled form grows with it.
        cluster: What steps may use, and where they run.
        images: That steps run in.
    """
    learning, deciding = learn(cluster, images), evaluate_and_decide(cluster, images)

    @dsl.pipeline(
        name=f"selfemo-{rounds}",
        display_name=f"self-emo, up to {rounds} rounds",
        description="A data flywheel: self-play, filter, SELF-GRPO, evaluation and promotion, round after round.",
    )
    def selfemo(config: str, cycle: str = "") -> None:
        # A constant of the tasks themselves: Kubeflow's driver puts the time in its place there, and in no parameter.
        when = {"cycle": cycle, "scheduled_at": dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER}
        with dsl.ExitHandler(place(report(config=config, **when), "report", cluster, images), name="flywheel"):
            data = place(prepare(config=config, **when), "prepare", cluster, images)
            where = {
                "config": data.outputs["settings"],
                "prepared": data.outputs["prepared"],
                "shards": data.outputs["shards"],
            }
            base = place(warmup(config=where["config"], prepared=where["prepared"]), "warmup", cluster, images)
            state = deciding(challenger=base.outputs["Output"], round=0, **LoopState()._asdict(), **where)
            state.set_display_name("Round 0: judge")
            for number in range(1, rounds + 1):
                fields = {f: state.outputs[f] for f in LoopState._fields}
                challenger = learning(round=number, policy=fields["policy"], go_on=fields["go_on"], **where)
                challenger.set_display_name(f"Round {number}: learn")
                state = deciding(challenger=challenger.output, round=number, **fields, **where)
                state.set_display_name(f"Round {number}: judge")

    return selfemo
