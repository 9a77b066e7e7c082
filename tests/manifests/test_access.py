"""Least privilege, as data: what each account may do is exactly what a file in can_i says; any widening shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from manifests import dev_secrets
from manifests.access import listed, rights
from manifests.objects import Json, build, pods
from tests.conftest import ROOT

HERE = Path(__file__).parent / "can_i"
MANIFESTS = ROOT / "manifests"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    there = tmp_path_factory.mktemp("access") / "manifests"
    shutil.copytree(MANIFESTS, there, ignore=shutil.ignore_patterns("secrets*", "__pycache__"))
    dev_secrets.write(there / "components" / "dev-secrets" / "secrets")
    return there


@pytest.mark.parametrize("overlay", ["dev", "staging", "prod"])
def test_each_account_may_do_exactly_this(place: Path, overlay: str) -> None:
    assert rights(build(place / "overlays" / overlay)) == yaml.safe_load((HERE / f"{overlay}.yaml").read_text())


def test_who_submits_may_do_exactly_this(place: Path) -> None:
    roles = listed(build(place / "overlays" / "staging"))
    assert roles["selfemo-submit"] == yaml.safe_load((HERE / "submitters.yaml").read_text())
    assert set(roles["selfemo-schedule"]) < set(roles["selfemo-submit"])
    assert set(roles["selfemo-resubmit"]) < set(roles["selfemo-submit"])


def workloads(objects: list[Json]) -> dict[str, Json]:
    return {f"{o['kind']}/{o['metadata']['name']}": pod for o in objects for pod in pods(o)}


def test_a_token_is_mounted_only_where_the_api_server_is_asked(place: Path) -> None:
    found = workloads(build(place / "overlays" / "prod"))
    assert [name for name, pod in found.items() if pod.get("automountServiceAccountToken")] == [
        "CronJob/reap-trainjobs"
    ]


def test_pods_of_one_account_do_the_same_by_the_api_server(place: Path) -> None:
    """An account with a right is that of one workload: the rights of a Job are not those of another."""
    objects = build(place / "overlays" / "prod")
    found: dict[str, set[str]] = {}
    for name, pod in workloads(objects).items():
        if account := pod.get("serviceAccountName"):
            found.setdefault(account, set()).add(name)
    shared = {account for account, names in found.items() if len(names) > 1}
    assert "selfemo-sync" in shared and not {account for account in shared if rights(objects)[account]}


def secrets_of(pod: Json) -> set[str]:
    text = yaml.safe_dump(pod)
    refs = re.findall(r"secretKeyRef:\n\s+key: .*\n\s+name: (\S+)", text)
    refs += re.findall(r"secretRef:\n\s+name: (\S+)", text) + re.findall(r"secretName: (\S+)", text)
    return set(refs)


def test_each_pod_holds_its_own_secrets_alone(place: Path) -> None:
    dev, prod = (workloads(build(place / "overlays" / name)) for name in ("dev", "prod"))
    assert secrets_of(dev["Deployment/serving"]) == {"serving-s3", "serving-key"}  # no MLflow, no writing
    assert secrets_of(prod["InferenceService/self-emo"]) == {"serving-s3"}
    assert secrets_of(prod["CronJob/sync-registry"]) == {"selfemo", "git-credentials"}
    assert secrets_of(prod["CronJob/reap-trainjobs"]) == set()
    assert secrets_of(prod["Job/schedule"]) == set()
    with_admin = {name for name, pod in {**dev, **prod}.items() if "mlflow" in secrets_of(pod)}
    assert with_admin == {"Deployment/mlflow"}


def uris() -> list[str]:
    """Every URI of a database that is shipped: made for dev, asked for in manifests, shown in docs."""
    texts = list(dev_secrets.files().values())
    texts += [p.read_text() for p in MANIFESTS.rglob("*.yaml") if "secrets" not in p.parent.name]
    texts += [p.read_text() for p in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]]
    return sorted(
        {u for text in texts for u in re.findall(r"(?:postgresql|postgres|mysql)(?:\+\w+)?://[^\s`'\")|]+", text)}
    )


def test_every_database_uri_names_a_driver_that_the_image_has() -> None:
    """SQLAlchemy 2.1 takes `postgresql://` for psycopg 3: with psycopg2 in the image MLflow never started."""
    from sqlalchemy.engine import make_url

    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "images/pipeline/requirements.txt").read_text(), re.MULTILINE))
    found = uris()
    assert len(found) >= 2
    for uri in found:
        url = make_url(re.sub(r":(PORT|\.\.\.)", ":5432", uri))
        assert "+" in url.drivername, f"{uri}: which driver?"
        driver = url.drivername.partition("+")[2]
        assert locked & {driver, f"{driver}-binary"}, f"{uri}: {driver} is not in the image"
