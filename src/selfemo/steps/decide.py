"""What becomes of a round, and the run as one page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfemo.config import Config
from selfemo.context import Context, Published
from selfemo.loop import LoopState
from selfemo.method import gate, guard
from selfemo.method.evaluation import corrected_predictions, labels_of, predictions
from selfemo.method.gate import Decision
from selfemo.places import temporary
from selfemo.policies import Policy
from selfemo.registry import pages
from selfemo.registry.promotion import after_decision
from selfemo.registry.rounds import RoundRow
from selfemo.registry.status import follow
from selfemo.registry.stopped import DECIDED
from selfemo.steps.report import finished_rounds

DRAWN = "selfemo.drawn"
"""Tag of a round's run: the decision whose figures it has."""


def decide(config: Config, state: LoopState, challenger: str, evaluation_uri: str, round: int) -> tuple[LoopState, str]:
    """Register the challenger, promote it through the gate, and say whether the loop goes on.

    Args:
        config: Of the run.
        state: Champion so far; round 0 has none.
        challenger: URI of what the round trained.
        evaluation_uri: URI of their evaluation.
        round: Number of the round.

    Returns:
        What the next round starts from, and the URI of the record of the decision.
    """
    context = Context(config)
    policy = context.policies.find(challenger)  # what was trained; where nothing was, what it stands for
    trained = not state.policy or policy.uri != context.policies.find(state.policy).uri

    def work(out: Path, _: Path) -> dict[str, Any]:
        made, scored = context.policies.manifest(challenger), context.store.manifest(evaluation_uri)
        assert made and scored  # the steps that made them have returned
        stopped = str(made.result.get("stopped", ""))
        if trained and state.policy:
            stopped = guard.of_challenger(scored.result, config.guard)
        if stopped or not trained:
            decision = Decision(False, stopped or "the filter kept nothing to train on")
        else:
            before, ours = (predictions(context.store, uri) for uri in (state.scores, evaluation_uri))
            spaces = labels_of(context.store, evaluation_uri)
            decision = gate.check(before, ours, spaces, config)
            if state.scores:
                before, ours = (corrected_predictions(context.store, uri) for uri in (state.scores, evaluation_uri))
                decision = gate.with_corrections(decision, before, ours, spaces, config)
        misses = 0 if decision.promoted else state.misses + 1
        go_on = (trained or bool(stopped)) and round < config.loop.rounds and misses < config.loop.patience
        champion = (policy.uri, evaluation_uri) if decision.promoted else (state.policy, state.scores)
        row = RoundRow.of(
            context.store, round, made, scored, decision.promoted, stopped, evaluation_uri == state.scores
        )
        (out / "decision.json").write_text(json.dumps(decision.to_dict(), indent=1))
        return {
            **LoopState(*champion, misses, go_on)._asdict(),
            **decision.to_dict(),
            "trained": trained,
            "stopped": stopped,
            "row": row.to_dict(),
        }

    inputs = {  # these names are part of the record's address
        "challenger": challenger,
        "scores": evaluation_uri,
        "champion": state.policy,
        "champion_scores": state.scores,
        "misses": state.misses,
        "round": round,
    }
    done = context.step("decide", round, inputs, work)
    _record(context, done, state, policy, evaluation_uri, round)
    return LoopState(**{name: done.result[name] for name in LoopState._fields}), done.uri


def _record(
    context: Context, done: Published, state: LoopState, policy: Policy, evaluation_uri: str, round: int
) -> None:
    """Record a decision in MLflow; runs for a resumed decision too, and changes nothing twice."""
    registry = context.registry
    run = registry.round(round)
    result = done.result
    decision = Decision.from_dict(result)
    found = decision.gains.get(context.config.corpora[0].name)
    evidence = {
        "selfemo.gate_gain": f"{found.gain:+.4f}" if found else "",
        "selfemo.gate_p": f"{found.p:.4f}" if found else "",
        "selfemo.gate_figure": found.figure if found else "",
    }
    version = ""
    if result["trained"]:
        lineage = {
            "selfemo.run": context.config.run,
            "selfemo.round": str(round),
            "selfemo.parent_policy": state.policy,
            "selfemo.base": context.config.policy.base,
            "selfemo.code": done.manifest.code,
        }
        tags = {
            "selfemo.scores": evaluation_uri,
            "selfemo.decision": done.uri,
            "selfemo.gate": "passed" if result["promoted"] else "closed",
            "selfemo.gate_reason": result["reason"],
            **evidence,
            "selfemo.digest": policy.digest,
        }
        ours = policy.uri == done.manifest.inputs["challenger"]
        # What another run's guard stopped stays stopped: this run only took it over, and has nothing to say of it.
        (tags if ours or result["stopped"] else lineage)["selfemo.stopped"] = result["stopped"]
        version = registry.versions.register(policy.uri, run, tags, lineage)
        outcome = after_decision(context, registry.versions.get(version), decision, state.policy, evaluation_uri)
        registry.tags(run, {"selfemo.model_version": version, "selfemo.registry": outcome})
        _publish_card(context, done, policy, version, run)
        follow(registry)
    noted = json.loads(registry.client.get_run(registry.parent).data.tags.get("selfemo.decisions", "[]"))
    noted = [d for d in noted if d != done.uri] + [done.uri]
    registry.tags(registry.parent, {"selfemo.decisions": json.dumps(noted)})
    _draw(context, noted, done.uri, run)
    tags = {"selfemo.promoted": str(result["promoted"]).lower(), "selfemo.reason": result["reason"]}
    if DECIDED not in registry.client.get_run(run).data.tags:
        tags[DECIDED] = str(int(time.time() * 1000))
    registry.tags(run, tags | evidence | {"selfemo.stopped": result["stopped"]})
    row = result["row"]
    numbers = {f"round/{k}": float(v) for k, v in row.items() if isinstance(v, (int, float)) and k != "round"}
    registry.metrics_once(registry.parent, round, numbers)
    pages.write_note(registry, run, pages.round_note(registry, RoundRow.from_dict(row), result["reason"], version))
    pages.write_note(registry, registry.parent, pages.run_note(registry, finished_rounds(context)))
    registry.finish(run)


def _draw(context: Context, decided: Sequence[str], uri: str, run: str) -> None:
    """The round's figures in its run, and those of all rounds so far in the pipeline's: the report's own, as PNG.

    A decision never changes: its round's figures are drawn once.
    """
    from selfemo.report.draw import png
    from selfemo.report.evidence import read_round
    from selfemo.report.sections import over, section_of

    rounds = [found for found in (read_round(context, one) for one in decided) if found]
    rounds.sort(key=lambda r: r.number)
    mine = next(r for r in rounds if r.uri == uri)
    registry = context.registry
    wanted = [(registry.parent, over(rounds))]
    if registry.client.get_run(run).data.tags.get(DRAWN) != uri:
        wanted.append((run, section_of(mine, {}).figures))
    for where, figures in wanted:
        with temporary("figures") as directory:
            drawn = {directory / f"{figure.key}.png": figure for figure in figures if figure.panels}
            for file, figure in drawn.items():
                file.write_bytes(png(figure))
            registry.artifacts(where, list(drawn), "plots")
    if len(wanted) > 1:
        registry.tags(run, {DRAWN: uri})


def _publish_card(context: Context, done: Published, policy: Policy, version: str, run: str) -> None:
    """The version's card: next to its weights, in the round's run, and as the version's description.

    Weights that an earlier run made, which this one began from, keep the card that says how they were made.
    """
    from selfemo.registry.card import model_card

    store, registry = context.store, context.registry
    backend, readme = store.backend(policy.uri), f"{policy.uri}/README.md"
    ours = policy.uri == done.manifest.inputs["challenger"]
    with temporary("card") as directory:
        card = directory / "card.md"
        text = model_card(context, done.manifest, version, policy.uri, policy.digest)
        card.write_text(text, encoding="utf-8")
        if ours or (policy.uri.startswith(f"{store.root}/") and backend.read(readme) is None):
            backend.upload(card, readme)
        registry.artifacts(run, [card])
    found = registry.versions.get(version)
    if ours or not found.description:
        text = pages.version_page(context, done.manifest, found, policy.uri, policy.digest)
        registry.client.update_model_version(registry.model, version, text)
