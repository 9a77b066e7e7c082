"""A rollback goes back to no version that was rolled back before, and the loop does not undo it."""

from __future__ import annotations

import pytest

from selfemo.context import Context
from selfemo.errors import GateClosed, UserError
from selfemo.registry.promotion import promote_version
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


def move(world: World, version: str) -> None:
    """What a person does in MLflow's pages."""
    world.context.registry.client.set_registered_model_alias(world.model, "champion", version)


def delete(world: World, version: str) -> None:
    world.context.registry.client.delete_model_version(world.model, version)


def test_after_an_alias_that_was_moved_by_hand_it_goes_back_to_the_last_that_was_promoted(world: World) -> None:
    first, second, third = world.fresh(3)
    world.by_hand(first)
    world.by_hand(second)
    move(world, third)
    world.back()
    assert world.champion() == second
    move(world, third)
    fourth = world.context.registry.versions.register("s3://b/4", world.context.registry.round(1), {})
    world.by_hand(fourth)  # after one that was never promoted
    world.back("again")
    assert world.champion() == second


def test_an_alias_that_was_moved_back_by_hand_is_not_moved_forward(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.by_hand(second)
    move(world, first)
    with pytest.raises(UserError, match="no earlier champion"):
        world.back()
    assert world.champion() == first


def test_after_the_champion_was_deleted_it_goes_back_to_the_one_before(world: World) -> None:
    first, second, third = world.fresh(3)
    for version in (first, second, third):
        world.by_hand(version)
    delete(world, third)
    assert "(was 3)" in world.back()
    assert world.champion() == second


def test_a_champion_before_that_was_deleted_is_passed_over(world: World) -> None:
    first, second, third = world.fresh(3)
    for version in (first, second, third):
        world.by_hand(version)
    delete(world, second)
    world.back()
    assert world.champion() == first
    delete(world, first)
    delete(world, third)
    with pytest.raises(UserError, match="no earlier champion"):
        world.back("nothing is left")


def test_after_a_rename_it_goes_back_as_before(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.by_hand(second)
    renamed = f"{world.model}-renamed"
    world.context.registry.client.rename_registered_model(world.model, renamed)
    with pytest.raises(UserError, match="no earlier champion"):  # the old name has no champion any more
        world.back()
    mlflow = world.context.config.mlflow.model_copy(update={"model": renamed})
    world.context = Context(world.context.config.model_copy(update={"mlflow": mlflow}))
    world.back("it shouts")
    assert world.champion() == first


def test_a_champion_that_was_deleted_does_not_open_the_gate(world: World) -> None:
    first, second, third = world.fresh(3)
    world.by_hand(first)
    delete(world, first)
    assert "version 1, is gone" in world.by_the_loop(second)
    assert world.champion() == ""
    world.context.registry.client.set_model_version_tag(world.model, second, "selfemo.scores", "s3://b/scores")
    with pytest.raises(GateClosed, match="is gone"):
        promote_version(Context(world.context.config), second)
    world.by_hand(third)  # a person says which, and why
    assert world.champion() == third


def test_an_alias_that_was_taken_away_does_not_open_the_gate_either(world: World) -> None:
    first, second = world.fresh(2)
    world.by_hand(first)
    world.context.registry.versions.remove_alias("champion")
    assert "version 1, is gone" in world.by_the_loop(second)
    assert world.champion() == ""


def test_what_became_of_each_version_is_what_the_registry_did(world: World) -> None:
    first, second, _ = world.fresh(3)
    world.by_hand(first)
    world.by_hand(second)
    world.back()
    became = world.context.registry.champion.became()
    assert became == {"s3://b/0": "promoted", "s3://b/1": "rolled back", "s3://b/2": "kept"}
