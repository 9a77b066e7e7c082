"""Each image's lock is of the extras that ``images/lock.sh`` names, and holds what they want, pinned by hash."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

IMAGES = ROOT / "images"
LOCKS = {
    found[1]: found[2].split()
    for found in re.finditer(r"^  lock (\S+) .*\$\(extras ([a-z ]+)\)", (IMAGES / "lock.sh").read_text(), re.MULTILINE)
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted(extra: str) -> list[Requirement]:
    """What an extra installs itself; one of ours that it names is followed."""
    own = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    inner = [r for one in own if one.name == "selfemo" for named in one.extras for r in wanted(named)]
    return inner + [one for one in own if one.name != "selfemo"]


def test_every_lock_is_named() -> None:
    assert set(LOCKS) == {str(path.relative_to(IMAGES)) for path in IMAGES.glob("*/*.txt")}


@pytest.mark.parametrize("lock", sorted(LOCKS))
def test_a_lock_holds_what_its_extras_want(lock: str) -> None:
    pins = re.findall(r"^([\w.-]+)==([^\s\\]+) (\\\n    --hash=)?", (IMAGES / lock).read_text(), re.MULTILINE)
    assert all(hashed for _, _, hashed in pins)
    pinned = {canonicalize_name(name): version for name, version, _ in pins}
    for requirement in [*map(Requirement, PROJECT["dependencies"]), *(r for e in LOCKS[lock] for r in wanted(e))]:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{lock} lacks {requirement.name}: run images/lock.sh"
        assert requirement.specifier.contains(version.split("+")[0]), f"{lock} has {requirement.name} {version}"
