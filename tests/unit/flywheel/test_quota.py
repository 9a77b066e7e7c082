"""How many samples of each label are kept, and which."""

from __future__ import annotations

from selfemo import config as configuration
from selfemo.method.flywheel.filtering import filter_rollouts
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import CONFIG, EVERYTHING, understanding


def test_one_label_cannot_fill_the_training_set() -> None:
    words = ["boat", "tree", "lamp", "road", "cake", "wolf", "door", "rain", "coat", "fish"]
    rollouts = [understanding(["joy"] * 6 + ["fear"] * 2, w, f"The {w} is {w[::-1]} for {w}") for w in words]
    kept = filter_rollouts(rollouts, SPACES, CONFIG)
    assert len(kept.samples) == 4  # quota 0.4 of ten
    assert kept.reasons["understanding"]["over_quota"] == 6
    few = filter_rollouts(
        rollouts, SPACES, configuration.load(None, [*EVERYTHING, "flywheel.tau_low=0.3", "flywheel.samples=2"])
    )
    assert len(few.samples) == 2


def test_the_surest_share_of_each_label_is_kept_and_the_rest_said_to_be_unsure() -> None:
    sure, split = ["joy"] * 3 + ["fear"], ["joy"] * 2 + ["fear", "anger"]
    rare, rarer = ["fear"] * 3 + ["joy"], ["fear"] * 2 + ["joy", "anger"]
    texts = ("We won!", "The bus is late again", "Who took my umbrella then", "Three letters came for you")
    rollouts = [understanding(r, str(i), texts[i]) for i, r in enumerate((sure, split, rare, rarer))]
    half = configuration.load(None, [*EVERYTHING, "flywheel.share=0.5"])
    result = filter_rollouts(rollouts, SPACES, half)
    assert [s.parents[0] for s in result.samples] == ["0", "2"]
    assert result.reasons["understanding"]["unsure"] == 2
    whole = filter_rollouts(rollouts, SPACES, configuration.load(None, EVERYTHING))
    assert len(whole.samples) == 4
    assert whole.metrics["eligible"] == result.metrics["eligible"]
