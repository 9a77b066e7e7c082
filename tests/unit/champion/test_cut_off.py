"""A promotion or rollback that is cut off between any two writes: the same command again ends right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from selfemo.errors import UserError
from tests.unit.champion.world import Killed, World

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
        assert not world.context.registry.champion.moves.cut_off(), at
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
