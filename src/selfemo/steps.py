"""One function for each pipeline step: what the command line and the components both call.

Each takes the configuration and URIs, publishes one artifact, and returns a small result. Called again with
the same inputs, it returns what is already there: that is how a killed run resumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo import gate, guard, plots
from selfemo.config import Config
from selfemo.context import Context, Published, code_version
from selfemo.corpora import load_corpora
from selfemo.dialogue import Dialogue, gold_counts, read_jsonl, write_jsonl
from selfemo.errors import UserError
from selfemo.gate import Decision
from selfemo.measure import head, measure, player_of, weights, weights_of
from selfemo.overrides import flat
from selfemo.progress import meter
from selfemo.promotion import after_decision, decisions, predictions
from selfemo.records import Rollout, Sample, read_rows, seed_of, write_rows
from selfemo.table import RoundRow
from selfemo.training import launch

log = logging.getLogger(__name__)


def prepare(config: Config) -> Published:
    """Corpora to dialogues: training pool, warm-up sample and held-out set, without leakage between them."""
    context = Context(config)
    corpora = load_corpora(config)
    rows = json.dumps([d.model_dump(mode="json") for d in (*corpora.training, *corpora.held_out)])
    content = hashlib.sha256(rows.encode()).hexdigest()
    registry = context.registry
    registry.reopen(registry.parent)
    registry.params(registry.parent, flat(config.model_dump(mode="json")))

    def work(out: Path, _: Path) -> dict[str, Any]:
        gold = [d for d in corpora.training if any(u.gold for u in d.turns)]
        labelled = sorted(gold, key=lambda d: seed_of(config.seed, "warm-up", d.id))[: config.warmup.dialogues]
        selection, warm = labelled[: config.warmup.selection], labelled[config.warmup.selection :]
        if selection and not warm:
            raise UserError(
                f"the corpora have {len(labelled)} labelled dialogues, and all are kept for selection",
                where="warmup.selection", fix="lower it",
            )  # fmt: skip
        apart = {d.id for d in selection}
        training = [d for d in corpora.training if d.id not in apart]
        held_out = sorted(selection, key=lambda d: d.id) or corpora.held_out
        write_jsonl(out / "training.jsonl", training)
        write_jsonl(out / "held_out.jsonl", held_out)
        (out / "warmup.json").write_text(json.dumps(sorted(d.id for d in warm), indent=1))
        (out / "quarantine.jsonl").write_text("".join(json.dumps(q) + "\n" for q in corpora.quarantine))
        return {
            "training_dialogues": len(training),
            "held_out_dialogues": len(held_out),
            "warmup_dialogues": len(warm),
            "leaked_utterances": corpora.leaked,
            "quarantined_rows": len(corpora.quarantine),
        }

    done = context.step("prepare", 0, {"content": content}, work)
    tags = {"selfemo.prepared": done.uri, "selfemo.decisions": "[]", "selfemo.code": code_version()}
    registry.tags(registry.parent, tags)
    registry.dataset(registry.parent, "prepared", done.manifest.digest, done.uri, "training")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.json"
        file.write_text(config.model_dump_json(indent=1))
        registry.artifacts(registry.parent, [file])
    return done


def warmup(config: Config, prepared: str) -> Published:
    """The base model to ``theta_0``: supervised on the warm-up dialogues, or as it is without dialogues or epochs."""
    context = Context(config)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        data = context.store.fetch(prepared)
        base = weights(context, config.policy.base)
        gold = _labelled(data)
        if not gold or not config.warmup.epochs:
            from selfemo.policy.weights import load_model, load_tokenizer

            if launch.rank() == 0:
                load_model(base).save_pretrained(out)
                load_tokenizer(base).save_pretrained(out)
            return {"dialogues": 0, "steps": 0}
        from selfemo.training.warmup import warm_up

        steps = warm_up(base, gold, config, _checkpoints(config, scratch), out, _training_log(context, 0))
        if launch.rank() == 0:
            _plot_training(context, 0, out)
        return {"dialogues": len(gold), "steps": steps, "base": config.policy.base}

    inputs = {"prepared": prepared, "base": context.registry.resolve(config.policy.base)}
    _launch(context, "warmup", 0, inputs, config.policy.base, ["--prepared", prepared])
    return context.step("warmup", 0, inputs, work)


def generate(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Self-play of the round: predictions for corpus turns, and episodes, from dialogues without labels."""
    context = Context(config)
    policy = weights_of(context, policy)

    def work(out: Path, _: Path) -> dict[str, Any]:
        from selfemo.selfplay import choose_dialogues, play_episodes, understand_corpus

        data = context.store.fetch(prepared)
        labelled = set(json.loads((data / "warmup.json").read_text()))
        training = list(read_jsonl(data / "training.jsonl"))
        pool = [d for d in training if d.id not in labelled] or training
        player = player_of(context, policy)
        play = config.selfplay
        read = choose_dialogues(pool, play.corpus_dialogues, round, config.seed, "understanding")
        seeds = choose_dialogues(pool, play.episodes, round, config.seed, "episodes")
        turns = sum(len(d.turns) for d in read) * max(1, len(play.views))
        with meter("understanding", turns) as progress:
            rollouts = understand_corpus(player, read, round, config, progress.advance)
        with meter("self-play", len(seeds) * play.turns) as progress:
            rollouts += play_episodes(player, seeds, round, config, progress.advance)
        write_rows(out / "rollouts.jsonl.gz", rollouts)
        return {"rollouts": len(rollouts)}

    return context.step("generate", round, {"policy": policy, "prepared": prepared, "round": round}, work)


def filter(config: Config, rollouts: str, round: int) -> Published:
    """Rollouts to training samples; every rejected candidate with its one reason."""
    context = Context(config)

    def work(out: Path, _: Path) -> dict[str, Any]:
        from selfemo.flywheel import filter_rollouts

        rows = list(read_rows(context.store.fetch(rollouts) / "rollouts.jsonl.gz", Rollout))
        made = context.store.manifest(rollouts)
        prepared = made.inputs.get("prepared") if made else None  # what the rollouts were played from
        known = gold_counts(_labelled(context.store.fetch(prepared))) if prepared else {}
        kept = filter_rollouts(rows, config, known)
        write_rows(out / "samples.jsonl.gz", kept.samples)
        report = {
            "metrics": kept.metrics,
            "reasons": {task: dict(sorted(c.items())) for task, c in sorted(kept.reasons.items())},
            "labels_before": {task: dict(sorted(c.items())) for task, c in sorted(kept.before.items())},
            "labels_after": {task: dict(sorted(c.items())) for task, c in sorted(kept.after.items())},
        }
        (out / "filter.json").write_text(json.dumps(report, indent=1))
        registry = context.registry
        values = {f"filter/{k}": v for k, v in kept.metrics.items()}
        values |= {f"filter/{t}/{r}": float(n) for t, c in kept.reasons.items() for r, n in c.items()}
        registry.metrics(registry.round(round), [(round, values)])
        alarm = guard.of_rollouts(kept.metrics, config.guard)
        return {**kept.metrics, "reasons": dict(sum(kept.reasons.values(), Counter())), "stopped": alarm}

    return context.step("filter", round, {"rollouts": rollouts}, work)


def train(config: Config, policy: str, samples: str, prepared: str, round: int) -> Published:
    """SELF-GRPO on the round's samples, and on the labelled dialogues again: the policy to a challenger.

    With nothing kept, or with the collapse guard's alarm, nothing is learnt: the result stands for the policy itself.
    """
    context = Context(config)
    policy = weights_of(context, policy)

    def work(out: Path, scratch: Path) -> dict[str, Any]:
        filtered = context.store.manifest(samples)
        stopped = filtered.result.get("stopped", "") if filtered else ""
        rows = list(read_rows(context.store.fetch(samples) / "samples.jsonl.gz", Sample))
        if stopped or not rows:
            if launch.rank() == 0:
                (out / "training.json").write_text("[]")
            return {"policy": policy, "steps": 0, "samples": len(rows), "stopped": stopped}
        from selfemo.training.selfgrpo import train as self_grpo
        from selfemo.training.selftraining import train as self_training

        log_to = _training_log(context, round)
        checkpoints = _checkpoints(config, scratch)
        gold = _labelled(context.store.fetch(prepared)) if config.grpo.replay or config.grpo.balance else []
        base = weights(context, policy)
        if config.grpo.objective == "cross-entropy":
            steps = self_training(base, rows, gold, config, checkpoints, out, log_to)
        else:
            steps = self_grpo(base, policy, rows, gold, config, checkpoints, out, log_to)
        if launch.rank() == 0:
            _plot_training(context, round, out)
        history = json.loads((out / "training.json").read_text()) if launch.rank() == 0 else []
        return {"steps": steps, "samples": len(rows), "base": config.policy.base, **_means(history)}

    inputs = {"policy": policy, "samples": samples, "prepared": prepared}
    arguments = ["--policy", policy, "--samples", samples, "--prepared", prepared, "--round", str(round)]
    _launch(context, "train", round, inputs, policy, arguments)
    return context.step("train", round, inputs, work)


def evaluate(config: Config, policy: str, prepared: str, round: int) -> Published:
    """Scores of a policy on the held-out dialogues."""
    context = Context(config)
    policy = weights_of(context, policy)

    def work(out: Path, _: Path) -> dict[str, Any]:
        data = context.store.fetch(prepared)
        held_out = head(list(read_jsonl(data / "held_out.jsonl")), config.evaluation.dialogues)
        training = list(read_jsonl(data / "training.jsonl"))
        scores = measure(context, policy, held_out, training, out)
        gate_corpus = config.corpora[0].name
        flat = {k: v for k, v in scores[gate_corpus].items() if isinstance(v, (int, float))}
        flat |= {f"expression_{k}": v for k, v in scores["expression"].items()}
        registry = context.registry
        run = registry.round(round)
        values = {f"eval/{c}/{k}": v for c, s in scores.items() for k, v in s.items() if isinstance(v, (int, float))}
        values |= {f"eval/{gate_corpus}/f1/{k}": v for k, v in scores[gate_corpus]["f1"].items()}
        registry.metrics(run, [(round, values)])
        registry.artifacts(run, sorted(out.glob("confusion-*.png")), "plots")
        return {**flat, "weighted_f1_interval": scores[gate_corpus]["weighted_f1_interval"]}

    return context.step("evaluate", round, {"policy": policy, "prepared": prepared}, work)


@dataclass(frozen=True)
class State:
    """What one round hands to the next: all of it small, so that it travels as parameters.

    Attributes:
        policy: URI of the champion's weights.
        scores: URI of its evaluation.
        misses: Rounds in a row without promotion.
        go_on: Whether there is a next round.
    """

    policy: str = ""
    scores: str = ""
    misses: int = 0
    go_on: bool = True


def decide(config: Config, state: State, challenger: str, scores: str, round: int) -> State:
    """Register the challenger, promote it through the gate, and say whether the loop goes on.

    Args:
        config: Of the run.
        state: Champion so far; round 0 has none.
        challenger: URI of what the round trained.
        scores: URI of their evaluation.
        round: Number of the round.
    """
    context = Context(config)
    trained = weights_of(context, challenger) != state.policy

    def work(out: Path, _: Path) -> dict[str, Any]:
        made, scored = (context.store.manifest(uri) for uri in (challenger, scores))
        assert made and scored  # the steps that made them have returned
        stopped = str(made.result.get("stopped", ""))
        if trained and state.policy:
            stopped = guard.of_challenger(scored.result, config.guard)
        if stopped or not trained:
            decision = Decision(False, stopped or "the filter kept nothing to train on")
        else:
            decision = gate.decide(predictions(context, state.scores), predictions(context, scores), config)
        misses = 0 if decision.promoted else state.misses + 1
        go_on = (trained or bool(stopped)) and round < config.loop.rounds and misses < config.loop.patience
        row = RoundRow.of(context.store, round, challenger, scores, decision.promoted, stopped)
        (out / "decision.json").write_text(json.dumps(decision.to_dict(), indent=1))
        return {
            "policy": challenger if decision.promoted else state.policy,
            "scores": scores if decision.promoted else state.scores,
            "misses": misses, "go_on": go_on, "promoted": decision.promoted, "reason": decision.reason,
            "trained": trained, "stopped": stopped,
            "row": row.to_dict(),
        }  # fmt: skip

    inputs = {"challenger": challenger, "scores": scores, "champion": state.policy, "champion_scores": state.scores,
              "misses": state.misses, "round": round}  # fmt: skip
    done = context.step("decide", round, inputs, work)
    _record(context, done, state, challenger, scores, round)
    result = done.result
    return State(result["policy"], result["scores"], result["misses"], result["go_on"])


def _record(context: Context, done: Published, state: State, challenger: str, scores: str, round: int) -> None:
    """Bring MLflow in line with a decision; runs for a resumed decision too, and changes nothing twice."""
    registry = context.registry
    run = registry.round(round)
    result = done.result
    if result["trained"]:
        manifest = context.store.manifest(challenger)
        tags = {
            "selfemo.run": context.config.run,
            "selfemo.round": str(round),
            "selfemo.parent_policy": state.policy,
            "selfemo.base": context.config.policy.base,
            "selfemo.scores": scores,
            "selfemo.decision": done.uri,
            "selfemo.gate": "passed" if result["promoted"] else "closed",
            "selfemo.stopped": result["stopped"],
            "selfemo.gate_reason": result["reason"],
            "selfemo.digest": manifest.digest if manifest else "",
            "selfemo.code": done.manifest.code,
        }
        version = registry.register(challenger, run, tags)
        decision = Decision(result["promoted"], result["reason"])
        outcome = after_decision(context, registry.version(version), decision, state.policy, scores)
        registry.tags(run, {"selfemo.model_version": version, "selfemo.registry": outcome})
    decisions = json.loads(registry.client.get_run(registry.parent).data.tags.get("selfemo.decisions", "[]"))
    decisions = [d for d in decisions if d != done.uri] + [done.uri]
    registry.tags(registry.parent, {"selfemo.decisions": json.dumps(decisions)})
    tags = {"selfemo.promoted": str(result["promoted"]).lower(), "selfemo.reason": result["reason"]}
    registry.tags(run, tags | {"selfemo.stopped": result["stopped"]})
    row = result["row"]
    numbers = {f"round/{k}": float(v) for k, v in row.items() if isinstance(v, (int, float))}
    registry.metrics(registry.parent, [(round, numbers)])
    registry.finish(run, True)


def report(config: Config, succeeded: bool, error: str = "") -> Path:
    """The run as one page, whatever became of it; closes the MLflow run.

    Returns:
        The page, on this machine.
    """
    from selfemo.report import write_report

    context = Context(config)
    registry = context.registry
    rows = finished_rounds(context)
    page = context.workdir / "runs" / config.run / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_report(context, rows, page, succeeded, error)
    registry.artifacts(registry.parent, [page])
    if error:
        registry.tags(registry.parent, {"selfemo.error": error[:4000]})
    registry.finish(registry.parent, succeeded)
    return page


def finished_rounds(context: Context) -> list[RoundRow]:
    """Rounds of the current attempt at the run that were decided, in order."""
    return [RoundRow(**decision.result["row"]) for decision in decisions(context)]


def _launch(
    context: Context, name: str, round: int, inputs: Mapping[str, Any], policy: str, arguments: Sequence[str]
) -> None:
    """Do a training step in several processes, if so configured: each gives ``selfemo train``, rank 0 publishes."""
    config = context.config
    uri = context.uri(name, round, inputs)
    apart = config.cluster.trainer == "trainjob" and not launch.launched()
    if not (apart or launch.wanted(config)) or context.store.manifest(uri) is not None:
        return
    if apart:
        from selfemo.cluster.train import train_on_cluster

        train_on_cluster(config, name, round, uri, arguments)
        if context.store.manifest(uri) is None:
            fix = "see the job's log; do its pods read and write the same store?"
            raise UserError("training ended and published nothing", where=uri, fix=fix)
        return
    logs = context.workdir / "runs" / config.run / f"{name}-{round}"
    logs.mkdir(parents=True, exist_ok=True)
    settings = logs / "config.json"
    settings.write_text(config.to_json())
    weights(context, policy)  # brought to this machine once, not by every process at the same time
    launch.start(config, ["train", "--config", str(settings), *arguments], logs)


def _labelled(data: Path) -> list[Dialogue]:
    """The dialogues of prepared data that the warm-up learns from."""
    chosen = set(json.loads((data / "warmup.json").read_text()))
    return [d for d in read_jsonl(data / "training.jsonl") if d.id in chosen]


def _checkpoints(config: Config, scratch: Path) -> Path:
    """Where checkpoints go: those of another number of processes or strategy cannot be resumed."""
    return scratch / f"{config.launch.strategy}-{launch.world()}"


def _training_log(context: Context, round: int) -> Callable[[int, Mapping[str, float]], None]:
    """Sends metrics of a training step to the round's run, from rank 0."""
    if launch.rank():
        return lambda step, values: None
    run = context.registry.round(round)

    def log_to(step: int, values: Mapping[str, float]) -> None:
        named = {f"train/{k}": v for k, v in values.items() if k not in ("step", "epoch")}
        context.registry.metrics(run, [(step, named)])

    return log_to


def _means(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a training step was like: means over its optimizer steps."""
    found = {
        name: [row[name] for row in history if name in row] for name in ("reward", "group_confidence", "zero_variance")
    }
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _plot_training(context: Context, round: int, out: Path) -> None:
    """The training curves, beside the weights and in the round's run."""
    plots.training(json.loads((out / "training.json").read_text()), out / "training.png")
    context.registry.artifacts(context.registry.round(round), [out / "training.png"], "plots")
