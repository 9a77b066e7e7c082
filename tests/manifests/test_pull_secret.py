"""A registry that wants a login: every account pulls images with the secret, or the order of components is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests import check
from tests.manifests.test_values import place, take

__all__ = ["place"]


@pytest.mark.parametrize("last", [True, False])
def test_accounts_of_later_components_pull_images_too_or_the_order_is_refused(place: Path, last: bool) -> None:
    order = ["trainer", "resubmit", "image-pull-secret"]
    objects = take(place, "staging", *(order if last else reversed(order)), instead_of="resubmit")
    late = () if last else ("selfemo-resubmit", "selfemo-reap")
    found = list(check.without_a_login(objects))
    assert sorted(line.partition(":")[0] for line in found) == sorted(f"ServiceAccount/{name}" for name in late)
    assert all(line.endswith("list image-pull-secret last") for line in found)
