"""A rollback goes back to no version that was rolled back before, and the loop does not undo it."""

from __future__ import annotations

import pytest

from selfemo.errors import UserError
from tests.unit.champion.world import World


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
