"""How many targets are others than when the policy was taught."""

from __future__ import annotations

from selfemo.method.flywheel.filtering import filter_rollouts
from tests.spaces import SPACES
from tests.unit.flywheel.rollouts import CONFIG, understanding


def test_a_round_says_which_targets_flipped_since_the_policy_was_taught() -> None:
    first = [understanding(["joy"] * 8, f"r1/understanding/d/{t}") for t in range(4)]
    earlier = filter_rollouts(first, SPACES, CONFIG).targets
    assert earlier == {f"understanding/d/{t}": "joy" for t in range(4)}
    again = [understanding([label] * 8, f"r2/understanding/d/{t}") for t, label in enumerate(["joy", "fear", "fear"])]
    found = filter_rollouts(
        [*again, understanding(["anger"] * 8, "r2/understanding/new/0")], SPACES, CONFIG, earlier=earlier
    )
    assert found.flips == {"joy > fear": 2}
    assert (found.metrics["seen_again"], found.metrics["flipped"]) == (3, 2 / 3)
    assert "flipped" not in filter_rollouts(again, SPACES, CONFIG).metrics
