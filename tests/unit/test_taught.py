"""A policy carries the labels that it was taught: whoever serves or scores it knows them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from selfemo import config as configuration
from selfemo.cli.steps import _on
from selfemo.config import Config
from selfemo.context import Context
from selfemo.data.label_file import write_spaces
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.policies import Policy
from selfemo.serving.command import known_labels
from tests.spaces import SPACES

ZH = LabelSpace("zh", ("平静", "高兴"))


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return configuration.load(None, [f"store.root={(tmp_path / 'store').as_uri()}", f"workdir={tmp_path / 'work'}"])


def published(settings: Config, tiny: Path, tmp_path: Path, spaces: dict[str, LabelSpace]) -> Policy:
    """A policy in the store, as a step leaves it, found on a machine that knows nothing else of it."""
    weights = tmp_path / "weights"
    shutil.copytree(tiny, weights)
    if spaces:
        write_spaces(weights / "labels.json", spaces)
    store = Context(settings).store
    store.publish(weights, store.uri("r/round-1/train-x"), step="train")
    return Context(settings).policies.find(store.uri("r/round-1/train-x"))


def test_a_served_policy_of_an_own_corpus_knows_its_labels(settings: Config, tiny: Path, tmp_path: Path) -> None:
    found = published(settings, tiny, tmp_path, {"support": ZH})
    assert found.taught == {"support": ZH}
    spaces, labels = known_labels(settings, found)
    assert labels == "support"  # though the configuration names the sample corpus, which it was not taught
    assert spaces["support"] == ZH
    assert spaces["meld"] == SPACES["meld"]


def test_of_several_that_it_was_taught_the_first_that_a_configuration_says_is_meant_or_its_gate_corpus(
    settings: Config, tiny: Path, tmp_path: Path
) -> None:
    found = published(settings, tiny, tmp_path, {"support": ZH, "sample": SPACES["sample"]})
    assert known_labels(settings, found)[1] == "support"  # a default is not what anybody said
    said = Config.model_validate({**settings.model_dump(exclude_unset=True), "corpora": [{"name": "sample"}]})
    assert known_labels(said, found)[1] == "sample"
    assert next(iter(known_labels(settings, found)[0])) == "support"


def test_weights_from_elsewhere_are_asked_for_the_configurations_labels(
    settings: Config, tiny: Path, tmp_path: Path
) -> None:
    found = published(settings, tiny, tmp_path, {})
    assert found.taught == {}
    assert known_labels(settings, found)[1] == "sample"
    unknown = configuration.load(None, ["corpora=[{name: support, path: nowhere}]"])
    with pytest.raises(UserError, match="the labels of support are not known"):
        known_labels(unknown, found)


def test_a_policy_is_scored_with_its_own_labels_where_none_lie_beside_a_corpus(
    settings: Config, tiny: Path, tmp_path: Path
) -> None:
    found = published(settings, tiny, tmp_path, {"support": ZH})
    directory = tmp_path / "new"
    directory.mkdir()
    one = _on(settings, "support", str(directory), found.uri)
    assert one.spaces() == {"support": ZH}
    (directory / "labels.yaml").write_text("name: support\nlabels: [a, b]\n")
    assert _on(settings, "support", str(directory), found.uri).spaces()["support"].labels == ("a", "b")
    with pytest.raises(UserError, match="are not known"):
        _on(settings, "other", str(tmp_path / "nowhere"), found.uri).spaces()
