"""What a promotion writes down: once, and no more than MLflow's tag can hold."""

from __future__ import annotations

import json

import pytest

from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry.promotion import promote_version
from selfemo.registry.versions import CHAMPION
from tests.unit.champion.world import World


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
