"""What becomes of a round, and the run as one page."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.method import gate, guard
from selfemo.method.gate import Decision
from selfemo.policies import Policy
from selfemo.registry.promotion import after_decision, predictions
from selfemo.report.table import RoundRow


@dataclass(frozen=True)
class State:
    """What one round hands to the next: all of it small, so that it travels as parameters.

    Attributes:
        policy: URI of the champion's weights.
        scores: URI of its evaluation.
        misses: Rounds in a row without promotion.
        go_on: Whether there is a next round.
        decision: URI of the record of the decision; for those who show it, the next round does without.
    """

    policy: str = ""
    scores: str = ""
    misses: int = 0
    go_on: bool = True
    decision: str = ""


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
    policy = context.policies.find(challenger)  # what was trained; where nothing was, what it stands for
    trained = not state.policy or policy.uri != context.policies.find(state.policy).uri

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
            "policy": policy.uri if decision.promoted else state.policy,
            "scores": scores if decision.promoted else state.scores,
            "misses": misses, "go_on": go_on, "promoted": decision.promoted, "reason": decision.reason,
            "trained": trained, "stopped": stopped,
            "row": row.to_dict(),
        }  # fmt: skip

    inputs = {"challenger": challenger, "scores": scores, "champion": state.policy, "champion_scores": state.scores,
              "misses": state.misses, "round": round}  # fmt: skip
    done = context.step("decide", round, inputs, work)
    _record(context, done, state, policy, scores, round)
    result = done.result
    return State(result["policy"], result["scores"], result["misses"], result["go_on"], done.uri)


def _record(context: Context, done: Published, state: State, policy: Policy, scores: str, round: int) -> None:
    """Bring MLflow in line with a decision; runs for a resumed decision too, and changes nothing twice."""
    registry = context.registry
    run = registry.round(round)
    result = done.result
    if result["trained"]:
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
            "selfemo.digest": policy.digest,
            "selfemo.code": done.manifest.code,
        }
        version = registry.register(policy.uri, run, tags)
        decision = Decision(result["promoted"], result["reason"])
        outcome = after_decision(context, registry.version(version), decision, state.policy, scores)
        registry.tags(run, {"selfemo.model_version": version, "selfemo.registry": outcome})
        _publish_card(context, done, policy.uri, version, run)
    noted = json.loads(registry.client.get_run(registry.parent).data.tags.get("selfemo.decisions", "[]"))
    noted = [d for d in noted if d != done.uri] + [done.uri]
    registry.tags(registry.parent, {"selfemo.decisions": json.dumps(noted)})
    tags = {"selfemo.promoted": str(result["promoted"]).lower(), "selfemo.reason": result["reason"]}
    registry.tags(run, tags | {"selfemo.stopped": result["stopped"]})
    row = result["row"]
    numbers = {f"round/{k}": float(v) for k, v in row.items() if isinstance(v, (int, float))}
    registry.metrics(registry.parent, [(round, numbers)])
    registry.finish(run, True)


def _publish_card(context: Context, done: Published, policy: str, version: str, run: str) -> None:
    """The version's card: beside its weights, in the round's run, and as the version's description.

    Weights that an earlier run made, which this one began from, keep the card that says how they were made.
    """
    from selfemo.registry.card import model_card, summary

    store, registry = context.store, context.registry
    backend, beside = store.backend(policy), f"{policy}/README.md"
    ours = policy == done.manifest.inputs["challenger"]
    with tempfile.TemporaryDirectory() as directory:
        card = Path(directory) / "card.md"
        card.write_text(model_card(context, done.manifest, done.uri, version), encoding="utf-8")
        if ours or (policy.startswith(f"{store.root}/") and backend.read(beside) is None):
            backend.upload(card, beside)
        registry.artifacts(run, [card])
    if ours or not registry.version(version).description:
        registry.client.update_model_version(registry.model, version, summary(done.manifest))
