"""Two who move the champion at the same time: the one who has lost the lock moves nothing."""

from __future__ import annotations

from typing import cast

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from selfemo.context import Context
from selfemo.method.gate import Decision
from selfemo.registry.promotion import LOOP_WAITS, after_decision
from selfemo.registry.versions import CHAMPION
from selfemo.store.lock import SECONDS, Lease, Lost
from tests.unit.champion.world import Mortal, World


def test_who_has_lost_the_lock_moves_no_alias(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate takes long, and somebody else promotes meanwhile: the new champion is what it is compared with then."""
    first, second, third = world.fresh(3)
    world.by_hand(first)
    asked: list[str] = []

    def slow_gate(context: Context, scores: str) -> Decision:
        asked.append(world.champion())
        if len(asked) == 1:
            world.by_hand(third)  # whose lock is taken over, since the first holder has not been heard of for long
        return Decision(len(asked) == 1, "the gate")

    monkeypatch.setattr("selfemo.registry.promotion.against_registry", slow_gate)
    context = Context(world.context.config)
    said = after_decision(context, context.registry.versions.get(second), Decision(True, "loop"), "another", "")
    assert said == "the gate"
    assert asked == [first, third]
    assert world.champion() == third
    assert "selfemo.promoted_at" not in world.tags(second)


def test_an_alias_that_was_moved_too_late_is_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow has no compare-and-swap: the process stalls after its last look, and its request comes over another's."""
    first, second, third = world.fresh(3)
    world.by_hand(first)
    stalled: list[bool] = []
    real = mlflow.MlflowClient("").client

    class Stalls(Mortal):
        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            if (alias, version, stalled) == (CHAMPION, second, []):
                stalled.append(True)
                world.by_hand(third)
            self.client.set_registered_model_alias(name, alias, version)

    monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: Stalls(real, world.life))
    monkeypatch.setattr(
        "selfemo.registry.promotion.against_registry", lambda context, scores: Decision(False, "no better")
    )
    assert world.by_the_loop(second) == "no better"
    assert stalled
    assert world.champion() == third
    assert "selfemo.promoted_at" not in world.tags(second)
    world.back()
    assert world.champion() == first


@pytest.mark.parametrize("before", ["the first try", "the next try"])
def test_no_request_to_move_the_alias_is_sent_by_who_has_lost_the_lock_just_before(
    world: World, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    first, second, third = world.fresh(3)
    world.by_hand(first)
    real = mlflow.MlflowClient("").client
    lost: list[bool] = []
    tries: list[bool] = []

    def lose_the_lock() -> None:
        lost.append(True)
        world.by_hand(third)  # whose lock is taken over

    class Late(Mortal):
        def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
            self.client.set_registered_model_tag(name, key, value)
            if before == "the first try" and not lost:
                lose_the_lock()  # after the move was written down, and before the alias moves

        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            if (alias, version) == (CHAMPION, second):
                tries.append(bool(lost))
                if not lost:
                    lose_the_lock()
                    raise MlflowException("locked", error_code=TEMPORARILY_UNAVAILABLE)
            self.client.set_registered_model_alias(name, alias, version)

    monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: Late(real, world.life))
    monkeypatch.setattr(
        "selfemo.registry.promotion.against_registry", lambda context, scores: Decision(False, "no better")
    )
    assert world.by_the_loop(second) == "no better"
    assert lost and not any(tries)
    assert world.champion() == third


def test_a_step_that_was_killed_inside_the_lock_is_not_kept_out_by_itself() -> None:
    assert LOOP_WAITS > SECONDS


@pytest.mark.parametrize("request_", ["set", "remove"])
def test_no_request_on_an_alias_is_sent_without_the_lock(world: World, request_: str) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    versions = world.context.registry.versions

    class Taken:
        def renew(self) -> None:
            raise Lost("somebody else has taken it over", where="lock", fix="try again")

    lease = cast(Lease, Taken())
    with pytest.raises(Lost):
        versions.set_alias(CHAMPION, second, lease) if request_ == "set" else versions.remove_alias(CHAMPION, lease)
    assert world.champion() == first
