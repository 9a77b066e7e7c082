"""A promotion or rollback that is cut off between any two writes: the same command again ends right.

MLflow is real, on a database file; what is cut off is its client and the store's, at every write in turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from selfemo import config as configuration
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.method.gate import Decision
from selfemo.registry.promotion import LOOP_WAITS, after_decision, promote_version, roll_back
from selfemo.registry.versions import CHAMPION
from selfemo.store.backends import LocalBackend
from selfemo.store.lock import SECONDS

MODELS = count(1)
CHANGES = ("set_", "create_", "delete_", "update_", "log_")


class Killed(BaseException):
    """What is left of a process that was killed: not even its error handling runs."""


@dataclass
class Life:
    """How many writes a process has left, and how it ends.

    Attributes:
        left: Writes to go before the end; None lives on.
        dies: Whether the process ends there. If not, that one answer gets lost, and the process goes on.
    """

    left: int | None = None
    dies: bool = True
    ended: bool = field(default=False, init=False)

    def write(self, make: Callable[[], Any]) -> Any:
        if self.left is None:
            return make()
        if self.left == 0 and self.dies:
            self.ended = True
            raise Killed
        self.left -= 1
        done = make()
        if self.left < 0 and not self.ended:
            self.ended = True
            raise MlflowException("the answer got lost")
        return done


class Mortal:
    """An MLflow client whose writes a life counts."""

    def __init__(self, client: Any, life: Life) -> None:
        self.client, self.life = client, life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if not name.startswith(CHANGES):
            return real
        return lambda *a, **b: self.life.write(lambda: real(*a, **b))


class World:
    """A registered model of its own for each try, all in one database."""

    def __init__(self, place: Path, database: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life, self.model = Life(), ""
        self.overrides = [
            f"workdir={place / 'w'}",
            f"store.root={(place / 's').as_uri()}",
            f"mlflow.tracking_uri={database}",
        ]
        monkeypatch.setattr(mlflow, "MlflowClient", lambda tracking_uri: Mortal(client, self.life))
        create, swap = LocalBackend.create, LocalBackend.swap
        monkeypatch.setattr(LocalBackend, "create", lambda *a: self._store(lambda: create(*a)))
        monkeypatch.setattr(LocalBackend, "swap", lambda *a: self._store(lambda: swap(*a)))
        # Whoever comes next comes when the lock of the dead has run out.
        monkeypatch.setattr(LocalBackend, "age", lambda *a: 1e6, raising=False)

    def _store(self, make: Callable[[], bool]) -> bool:
        """Of the store's answers none gets lost: its client asks again by itself."""
        return bool(self.life.write(make)) if self.life.dies else make()

    def fresh(self, versions: int) -> list[str]:
        """A model with so many versions, not one of them champion."""
        self.model = f"m{next(MODELS)}"
        self.context = Context(configuration.load(None, [*self.overrides, f"mlflow.model={self.model}"]))
        registry = self.context.registry
        return [
            registry.versions.register(f"s3://b/{n}", registry.round(1), {"selfemo.scores": ""})
            for n in range(versions)
        ]

    def champion(self) -> str:
        found = self.context.registry.versions.alias(CHAMPION)
        return "" if found is None else str(found.version)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.context.registry.versions.get(version).tags)

    def by_the_loop(self, version: str) -> str:
        context = Context(self.context.config)
        found = context.registry.versions.get(version)
        current = context.registry.versions.alias(CHAMPION)
        return after_decision(context, found, Decision(True, "better"), current.source if current else "", "")

    def by_hand(self, version: str) -> str:
        return promote_version(Context(self.context.config), version, force=True, reason="better")

    def back(self, reason: str = "it shouts") -> str:
        return roll_back(Context(self.context.config), reason)

    def cut_off_everywhere(self, prepare: Callable[[], Callable[[], object]], dies: bool) -> Iterator[int]:
        """Cut a command off at its first write, then in a new world at its second, and so on; after each, it is given
        again to the end. Yields where it was cut off, when it is done."""
        for at in range(60):
            command = prepare()
            self.life.left, self.life.dies, self.life.ended = at, dies, False
            try:
                command()
            except (Killed, UserError, MlflowException):
                assert self.life.ended
            whole = not self.life.ended
            self.life.left = None
            if whole:
                assert at > 3, "this cut nothing off"
                return
            command()
            yield at
        raise AssertionError("the command has no end")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A database, which takes MLflow seconds to make, and its client."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'm.db'}"
    return uri, mlflow.MlflowClient(tracking_uri=uri)


@pytest.fixture
def world(elsewhere: Path, database: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(elsewhere, *database, monkeypatch)


cut = pytest.mark.parametrize("dies", [True, False], ids=["killed", "answer lost"])


@cut
@pytest.mark.parametrize("who", ["the loop", "a person"])
def test_a_promotion_that_was_cut_off_anywhere_ends_right_when_it_is_tried_again(
    world: World, who: str, dies: bool
) -> None:
    promote = world.by_the_loop if who == "the loop" else world.by_hand

    def prepare() -> Callable[[], object]:
        first, second = world.fresh(2)
        world.by_hand(first)
        return lambda: promote(second)

    for at in world.cut_off_everywhere(prepare, dies):
        first, second = "1", "2"
        assert world.champion() == second, at
        tags = world.tags(second)
        assert tags["selfemo.previous_champion"] == first, at
        assert tags["selfemo.promotion_reason"] == "better", at
        told = ("promoted_at", "promoted_by", "promotion_evidence", "promotion_forced")
        assert all(tags[f"selfemo.{name}"] for name in told), at
        world.back()
        assert world.champion() == first, at
        # the loop, resumed, undoes nobody's rollback
        assert world.by_the_loop(second) == "promoted before", at
        assert world.champion() == first, at


@cut
def test_a_first_promotion_that_was_cut_off_anywhere_ends_right(world: World, dies: bool) -> None:
    def prepare() -> Callable[[], object]:
        (first,) = world.fresh(1)
        return lambda: world.by_the_loop(first)

    for at in world.cut_off_everywhere(prepare, dies):
        assert world.champion() == "1", at
        assert world.tags("1")["selfemo.previous_champion"] == "", at
        assert world.tags("1")["selfemo.promoted_at"], at


@cut
def test_a_rollback_that_was_cut_off_anywhere_goes_back_once(world: World, dies: bool) -> None:
    def prepare() -> Callable[[], object]:
        for version in world.fresh(3):
            world.by_hand(version)
        return world.back

    for at in world.cut_off_everywhere(prepare, dies):
        assert world.champion() == "2", at
        assert world.tags("3")["selfemo.rolled_back"].endswith(": it shouts"), at
        world.back("and it is rude")  # another reason: further back
        assert world.champion() == "1", at


@cut
def test_a_rollback_by_somebody_else_finishes_a_promotion_that_was_cut_off(world: World, dies: bool) -> None:
    for at in range(1, 12):
        first, second = world.fresh(2)
        world.by_hand(first)
        world.life.left, world.life.dies, world.life.ended = at, dies, False
        with pytest.raises((Killed, UserError)):
            world.by_the_loop(second)
        world.life.left = None
        if world.champion() != second:
            continue  # it never became champion, so there is nothing to roll back
        world.back()
        assert world.champion() == first
        assert world.by_the_loop(second) == "promoted before"
        assert world.champion() == first
        return
    raise AssertionError("the alias never moved")


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


def test_a_step_that_was_killed_inside_the_lock_is_not_kept_out_by_itself() -> None:
    assert LOOP_WAITS > SECONDS


def test_a_rollback_goes_back_to_no_version_that_was_itself_rolled_back(world: World) -> None:
    first, second, third = world.fresh(3)
    for version in (first, second, third):
        world.by_hand(version)
    world.back("third is bad")
    world.by_hand(first)  # after second
    world.back("first is bad")
    assert world.champion() == second
    with pytest.raises(UserError, match="no earlier champion"):
        world.back("second is bad too")
    world.by_hand(third)  # somebody changed their mind about it
    assert world.tags(third)["selfemo.rolled_back"] == ""
    world.by_hand(first)
    world.back("no, third is better")
    assert world.champion() == third


def test_a_version_made_champion_by_hand_and_rolled_back_is_not_promoted_by_the_loop(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.context.registry.champion.promote(second, passed=True, reason="x")
    # as if somebody had moved it in MLflow's pages
    world.context.registry.client.delete_model_version_tag(world.model, second, "selfemo.promoted_at")
    world.back()
    assert world.by_the_loop(second) == "rolled back before"
    assert world.champion() == first


def test_promoting_the_champion_again_says_so_and_changes_nothing(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.by_hand(second)
    before = world.tags(second)
    assert "the champion already" in world.by_hand(second)
    assert world.tags(second) == before
    world.context.registry.versions.set_alias(CHAMPION, first)
    world.context.registry.client.delete_model_version_tag(world.model, first, "selfemo.promoted_at")
    with pytest.raises(UserError, match="the champion already"):
        world.by_hand(first)


@pytest.mark.parametrize("reason", ["x" * 100_000, "\u00e9" * 500, '"' * 500, "\x01" * 500, "\\" * 500])
def test_the_record_of_a_move_fits_into_mlflows_tag_and_a_damaged_one_is_no_obstacle(world: World, reason: str) -> None:
    first, second = world.fresh(2)
    promote_version(Context(world.context.config), f"0{first}", force=True, reason=reason)
    assert world.champion() == first
    model = world.context.registry.client.get_registered_model(world.model)
    (record,) = [v for k, v in model.tags.items() if "move" in k]
    assert len(record) < 5000 - 1500  # room for the gains of seven corpora, and the URIs of two sets of scores
    assert json.loads(record)["done"] is True
    world.context.registry.client.set_registered_model_tag(world.model, "selfemo.champion_move", "{")
    world.by_hand(second)
    assert world.champion() == second
