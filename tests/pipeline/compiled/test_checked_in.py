"""The checked-in forms are what compiling gives, stay small, and are chosen by the number of rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.images import DEFAULT
from pipelines.compile import COMPILED, compile_to, form_for, manifests_to
from pipelines.forms import parse
from selfemo import config as configuration
from tests.cluster.schemas import closed, schema

pytestmark = pytest.mark.no_cover  # no library code, which it would only slow down


def test_the_checked_in_form_has_not_drifted_and_compiling_is_deterministic(tmp_path: Path) -> None:
    for path in compile_to(tmp_path):
        assert path.read_bytes() == (COMPILED / path.name).read_bytes(), "run `make compile`"


@pytest.mark.parametrize(("size", "limit"), [(5, 256), (10, 512)])
def test_forms_stay_small(size: int, limit: int) -> None:
    assert (COMPILED / f"selfemo-{size}.yaml").stat().st_size < limit * 1024


def test_the_smallest_form_with_room_is_chosen() -> None:
    assert [form_for(n).name for n in (1, 5, 6, 10)] == ["selfemo-5.yaml"] * 2 + ["selfemo-10.yaml"] * 2


def test_manifests_name_a_version_by_its_content(tmp_path: Path) -> None:
    plain, other = (configuration.load(None, o).cluster for o in ([], ["cluster.profile=l4"]))
    made = {}
    for name, cluster in (("a", plain), ("b", plain), ("c", other)):
        (tmp_path / name).mkdir()
        made[name] = manifests_to(tmp_path / name, cluster, DEFAULT)
    assert [p.read_bytes() for p in made["a"]] == [p.read_bytes() for p in made["b"]]
    versions = {}
    for name, paths in made.items():
        pipeline, version = parse(paths[1].read_text())
        assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
        assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "selfemo-5"
        assert paths[0].stat().st_size < 256 * 1024 and paths[2].stat().st_size < 512 * 1024
        for document in (pipeline, version):
            closed(schema(f"pipelines.kubeflow.org_v2beta1_{document['kind']}")).validate(document)
        versions[name] = version["metadata"]["name"]
    assert versions["a"] == versions["b"] != versions["c"]
