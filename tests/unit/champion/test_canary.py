"""A canary in the registry: begun by the gate, ended by a person, and never left half-made."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import pytest

from selfemo.canary.watch import status, stop
from selfemo.context import Context
from selfemo.errors import GateClosed, UserError
from selfemo.registry.promotion import promote_version
from selfemo.registry.versions import CANARY
from tests.unit.champion.world import Killed, Mortal, World

SHARE = "canary={share: 10}"

cut = pytest.mark.parametrize("dies", [True, False], ids=["killed", "answer lost"])


def begun(world: World, versions: int = 3) -> list[str]:
    """A champion, the first, and beside it a canary, the second."""
    made = world.fresh(versions, SHARE)
    world.by_hand(made[0])
    assert world.by_the_loop(made[1]).startswith("canary of ")
    return made


def halt(world: World, reason: str = "it swears") -> str:
    return stop(Context(world.context.config), reason)


def test_without_a_champion_there_is_nothing_to_serve_beside_and_the_first_is_champion_at_once(world: World) -> None:
    (first,) = world.fresh(1, SHARE)
    world.by_the_loop(first)
    assert (world.champion(), world.alias(CANARY)) == (first, "")


def test_what_passes_the_gate_is_canary_first_and_the_champion_stays(world: World) -> None:
    first, second, _ = begun(world)
    assert (world.champion(), world.alias(CANARY)) == (first, second)
    tags = world.tags(second)
    assert tags["selfemo.canary_reason"] == "better"
    assert tags["selfemo.canary_against"] == first
    assert "selfemo.promoted_at" not in tags
    assert world.context.registry.champion.became()["s3://b/1"] == "canary"


def test_without_the_section_a_promotion_is_one_at_once(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.by_the_loop(second)
    assert (world.champion(), world.alias(CANARY)) == (second, "")


def test_what_does_not_pass_the_gate_is_no_canary_either(world: World) -> None:
    first, second = world.fresh(2, SHARE)
    world.by_hand(first)
    world.context.registry.client.set_model_version_tag(world.model, second, "selfemo.scores", "")
    with pytest.raises(UserError, match="no scores"):
        promote_version(Context(world.context.config), second)
    with pytest.raises(GateClosed):
        world.context.registry.canary.start(second, first, passed=False, reason="no better")
    assert world.alias(CANARY) == ""


def test_there_is_one_canary_at_a_time(world: World) -> None:
    _, second, third = begun(world)
    with pytest.raises(UserError, match=f"version {second} is canary just now"):
        world.by_hand(third)
    assert f"version {second} is canary just now" in world.by_the_loop(third)
    assert world.alias(CANARY) == second
    assert "canary already" in world.by_hand(second)


def test_a_person_stops_it_once_and_the_loop_does_not_begin_it_again(world: World) -> None:
    first, second, third = begun(world)
    assert f"version {second} of" in halt(world)
    assert (world.champion(), world.alias(CANARY)) == (first, "")
    assert world.tags(second)["selfemo.canary_ended"].endswith(": stopped: it swears")
    assert f"version {second} of" in halt(world)  # the same command, whose outcome got lost
    with pytest.raises(UserError, match="there is no canary"):
        halt(world, "another reason")
    assert world.by_the_loop(second).startswith("canary before")
    assert world.alias(CANARY) == ""
    assert status(world.context).lines[0].endswith(f"the last was version {second}: stopped: it swears")
    world.by_the_loop(third)
    assert world.alias(CANARY) == third


def test_a_person_may_begin_a_stopped_one_again(world: World) -> None:
    _, second, _ = begun(world)
    halt(world)
    world.by_hand(second)
    assert world.alias(CANARY) == second
    assert world.tags(second)["selfemo.canary_ended"] == ""
    assert world.tags(second)["selfemo.canary_forced"] == "true"


@pytest.mark.parametrize("which", [1, 2], ids=["the canary", "another"])
def test_who_promotes_at_once_ends_the_canary(world: World, which: int) -> None:
    made = begun(world)
    world.by_hand(made[which], at_once=True)
    assert (world.champion(), world.alias(CANARY)) == (made[which], "")
    assert world.tags(made[1])["selfemo.canary_ended"]


def test_a_rollback_ends_the_canary_that_was_compared_with_what_is_rolled_back(world: World) -> None:
    first, second, third = world.fresh(3, SHARE)
    world.by_hand(first)
    world.by_hand(second, at_once=True)
    world.by_the_loop(third)
    assert world.alias(CANARY) == third
    world.back()
    assert (world.champion(), world.alias(CANARY)) == (first, "")
    assert f"version {first} is champion" in world.tags(third)["selfemo.canary_ended"]


def test_a_canary_that_was_deleted_is_none(world: World) -> None:
    _, second, third = begun(world)
    world.context.registry.client.delete_model_version(world.model, second)
    assert world.alias(CANARY) == ""
    world.by_the_loop(third)
    assert world.alias(CANARY) == third


@cut
def test_a_begin_that_was_cut_off_anywhere_ends_right(world: World, dies: bool) -> None:
    def prepare() -> Callable[[], object]:
        first, second = world.fresh(2, SHARE)
        world.by_hand(first)
        return lambda: world.by_the_loop(second)

    for at in world.cut_off_everywhere(prepare, dies):
        assert (world.champion(), world.alias(CANARY)) == ("1", "2"), at
        tags = world.tags("2")
        told = ("by", "reason", "forced", "evidence", "against", "started_at")
        assert all(tags[f"selfemo.canary_{name}"] for name in told), at


@cut
def test_a_stop_that_was_cut_off_anywhere_ends_right(world: World, dies: bool) -> None:
    def prepare() -> Callable[[], object]:
        begun(world, 2)
        return lambda: halt(world)

    for at in world.cut_off_everywhere(prepare, dies):
        assert (world.champion(), world.alias(CANARY)) == ("1", ""), at
        assert world.tags("2")["selfemo.canary_ended"].endswith(": stopped: it swears"), at
        assert world.by_the_loop("2").startswith("canary before"), at


@pytest.mark.parametrize("which", ["2", "3"], ids=["the canary", "another"])
def test_a_promotion_at_once_that_was_cut_off_anywhere_ends_right(world: World, which: str) -> None:
    def prepare() -> Callable[[], object]:
        begun(world)
        return lambda: world.by_hand(which, at_once=True)

    for at in world.cut_off_everywhere(prepare, dies=True):
        assert (world.champion(), world.alias(CANARY)) == (which, ""), at
        assert world.tags(which)["selfemo.promoted_at"], at
        assert world.tags("2")["selfemo.canary_ended"], at


def test_a_rollback_that_was_killed_between_its_two_aliases_is_made_good_by_whoever_comes_next(world: World) -> None:
    for at in range(1, 30):
        first, second, third = world.fresh(3, SHARE)
        world.by_hand(first)
        world.by_hand(second, at_once=True)
        world.by_the_loop(third)
        world.life.left, world.life.dies, world.life.ended = at, True, False
        with pytest.raises(Killed):
            world.back()
        world.life.left = None
        if world.champion() == first and world.alias(CANARY):
            break
    assert world.champion() == first
    with pytest.raises(UserError, match="there is no canary"):
        halt(world, "it is old")
    assert (world.champion(), world.alias(CANARY)) == (first, "")


def test_an_alias_that_was_moved_too_late_is_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process stalls after its last look at the lock, and its request comes over another's."""
    first, second, third = world.fresh(3, SHARE)
    world.by_hand(first)
    stalled: list[bool] = []
    real = mlflow.MlflowClient("").client

    class Stalls(Mortal):
        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            if (alias, version, stalled) == (CANARY, second, []):
                stalled.append(True)
                world.by_hand(third)  # whose lock is taken over
            self.client.set_registered_model_alias(name, alias, version)

    monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: Stalls(real, world.life))
    assert f"version {third} is canary just now" in world.by_the_loop(second)
    assert stalled
    assert world.alias(CANARY) == third
    assert "selfemo.canary_started_at" not in world.tags(second)
