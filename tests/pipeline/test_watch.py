"""What is shown of a run, from real answers of Kubeflow Pipelines 2.17.0 (multi-user, Argo 4.0.5).

``answers/`` holds Workflows as its API gave them, without what steps are given and give. One failed; another had
grown so large that Argo had packed its nodes; those of the third, whose report failed, were packed here. The log is
that of a pod that failed so, with Argo's lines and those of Kubeflow's launcher around the step's own.
"""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.nodes import nodes
from pipelines.watch import failure, has_report, how_it_ended, lines, plain, tell_end, watch

ANSWERS = Path(__file__).parent / "answers"
PREPARE = "(0).root(0).exit-handler-1(0).prepare(0).executor"


def answer(name: str) -> dict[str, Any]:
    return dict(json.loads((ANSWERS / f"{name}.json").read_text()))


def named(manifest: dict[str, Any], name: str) -> Any:
    """One node of a Workflow, to be changed."""
    full = manifest["metadata"]["name"] + name
    (found,) = (node for node in manifest["status"]["nodes"].values() if node["name"] == full)
    return found


def test_rounds_steps_and_shards_are_told_as_a_person_knows_them() -> None:
    """The nodes of that one are packed: Kubeflow's own list of tasks had stopped a step before."""
    assert list(lines(answer("in_round_1"), "self-emo")) == [
        "Prepare: succeeded in 31 s",
        "Warm-up: succeeded in 294 s",
        "round 0: Evaluate, shard 1: succeeded in 73 s",
        "round 0: Evaluate, shard 2: succeeded in 73 s",
        "round 0: Decide: succeeded in 57 s",
        "round 1: Self-play, shard 1: succeeded in 265 s",
        "round 1: Self-play, shard 2: succeeded in 254 s",
        "round 1: Filter: succeeded in 32 s",
        "round 1: SELF-GRPO: running",
    ]


def test_what_failed_is_told_with_why_and_the_command_that_shows_its_log() -> None:
    """The pod of that answer was selfemo-5-67hcm-retry-system-container-impl-3165189000."""
    assert list(lines(answer("failed_in_prepare"), "self-emo")) == [
        "Prepare: failed in 30 s: main: Error (exit code 1)\n"
        "  see: kubectl -n self-emo logs -c main $(kubectl -n self-emo get pods -o name | grep 3165189000)",
        "Report: succeeded in 21 s",
    ]


def test_a_run_without_its_report_has_failed_whatever_kubeflow_calls_it(capsys: pytest.CaptureFixture[str]) -> None:
    """A driver was evicted and made again, so a task was there twice, and the report's driver fell over it."""
    manifest = answer("succeeded_without_report")
    found = SimpleNamespace(state="SUCCEEDED", error=None, state_history=[])
    assert tell_end(None, "id", "fl", found, manifest) == "FAILED"
    assert "failed: its report was not made" in capsys.readouterr().err.splitlines()[-1]
    assert list(lines(manifest, "n"))[-1].startswith("Report: Kubeflow's driver failed")
    other = answer("failed_in_prepare")
    assert has_report(other) and how_it_ended(found, other) == "SUCCEEDED"
    named(other, "(0).root(0).exit-handler-1.onExit(0).report(0).executor")["phase"] = "Failed"
    assert how_it_ended(found, other) == "FAILED"
    assert has_report({"status": {"compressedNodes": "none"}})


POD = "selfemo-5-67hcm-retry-system-container-impl-3165189000"
NOBODY = '{"error_message":"BadRequestError: Failed to read logs for run id: InternalServerError: ... NoSuchKey"}'
"""With status 200: the pod is gone, and its log was not kept."""


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            (ANSWERS / "failed_in_prepare.log").read_text(),
            "Prepare: prepare failed: s3://selfemo/nosuch: nothing lies here\n"
            "  fix: copy the corpus there, or correct corpora.path",
        ),
        (NOBODY, ""),
        ("", ""),
    ],
)
def test_what_the_step_that_failed_wrote_is_found_in_the_log_of_its_pod(
    kept: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = {f"/apis/v1alpha1/runs/id/nodes/{POD}/log": kept}
    monkeypatch.setattr("pipelines.watch.text", lambda client, path: logs.get(path, ""))
    assert failure(None, "id", answer("failed_in_prepare")) == said


def test_a_driver_that_fails_is_told_as_the_step_it_is_of() -> None:
    manifest = answer("failed_in_prepare")
    named(manifest, "(0).root(0).exit-handler-1(0).prepare-driver")["phase"] = "Error"
    named(manifest, "(0).root(0).exit-handler-1(0).prepare-driver(0)")["message"] = "pod deleted"
    assert next(lines(manifest, "n")).startswith("Prepare: Kubeflow's driver failed: pod deleted\n  see: kubectl -n n ")


def test_a_second_try_is_told_and_a_message_cannot_write_to_the_terminal() -> None:
    manifest = answer("failed_in_prepare")
    executor, first = named(manifest, PREPARE), named(manifest, f"{PREPARE}(0)")
    second = {**copy.deepcopy(first), "name": first["name"][:-3] + "(1)", "id": "selfemo-5-67hcm-7"}
    second["message"] = "\x1b[2Jgone"
    manifest["status"]["nodes"]["selfemo-5-67hcm-7"] = second
    executor["children"].append("selfemo-5-67hcm-7")
    line = next(lines(manifest, "n"))
    assert line.startswith("Prepare: failed (try 2) in 30 s: ")
    assert "\x1b" not in line and "grep 7)" in line
    executor["phase"] = "Running"
    assert next(lines(manifest, "n")) == "Prepare: running (try 2)"


@pytest.mark.parametrize(
    ("seconds", "message", "told"),
    [
        (
            3600,
            "Unschedulable: taint\x1b[2J",
            "waits for a node, or in its queue: Unschedulable: taint [2J",
        ),
        (3600, "", "waits for a node, or in its queue"),
        (3600, "PodInitializing", "is being started: PodInitializing"),
        (
            3600,
            "ImagePullBackOff: Back-off",
            "is being started: ImagePullBackOff: Back-off",
        ),
        (5, "ContainerCreating", ""),
    ],
)
def test_a_pod_that_does_not_run_yet_is_told_as_what_it_is(seconds: int, message: str, told: str) -> None:
    """As Argo 4.0.5 has it of a pod that Kueue holds: the node runs, its try is pending."""
    manifest = answer("failed_in_prepare")
    begun = (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    named(manifest, PREPARE).update(phase="Running", message="", startedAt="2026-11-27T00:00:00Z", finishedAt=None)
    named(manifest, PREPARE + "(0)").update(phase="Pending", startedAt=begun, message=message)
    assert [line for line in lines(manifest, "n") if "Prepare" in line] == ([f"Prepare: {told}"] if told else [])


def test_only_tries_are_taken_for_tries() -> None:
    """In Argo's tree, what comes after a node is among its children as well."""
    manifest = answer("failed_in_prepare")
    assert nodes(manifest)[PREPARE].tries == ["selfemo-5-67hcm-3165189000"]
    assert all(len(node.tries) == 1 for node in nodes(manifest).values())


def test_a_backend_that_shows_no_workflow_is_understood_as_well() -> None:
    tasks = [SimpleNamespace(display_name="Self-play", state="RUNNING"), SimpleNamespace(display_name="root", state="")]
    assert list(plain(tasks)) == ["Self-play: running"]


@pytest.mark.parametrize("status", [{}, {"nodes": None}, {"nodes": {}}])
def test_a_workflow_that_has_not_begun_has_nothing_to_tell(status: dict[str, Any]) -> None:
    assert list(lines({"metadata": {"name": "w"}, "status": status}, "n")) == []


def test_whoever_writes_to_the_workflow_writes_neither_to_the_terminal_nor_a_command() -> None:
    manifest = answer("failed_in_prepare")
    executor, first = named(manifest, PREPARE), named(manifest, f"{PREPARE}(0)")
    executor["phase"], first["message"] = "Failed", "\x1b]0;title\x07"
    manifest["status"]["nodes"]["odd"] = {**first, "id": "x-$(touch /tmp/owned)"}
    del manifest["status"]["nodes"][first["id"]]
    executor["children"] = ["odd"]
    line = next(lines(manifest, "n"))
    assert line.startswith("Prepare: failed in 30 s: ") and "\x1b" not in line
    assert "kubectl" not in line and "touch" not in line
    executor["phase"] = "Run\x1b[2J"
    assert "\x1b" not in next(lines(manifest, "n"))


@pytest.mark.parametrize(
    "manifest",
    [
        {"metadata": {"name": "w"}, "status": {"compressedNodes": "AAAA"}},
        {"metadata": {"name": "w"}, "status": {"compressedNodes": "H4sI"}},
        {"metadata": {"name": "w"}, "status": {"nodes": {"a": {"type": "Retry", "children": ["a"]}}}},
        {"status": {"nodes": {}}, "metadata": None},
    ],
)
def test_a_workflow_that_is_none_ends_no_waiting(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.watch.workflow", lambda client, run: manifest)
    run = SimpleNamespace(state="SUCCEEDED", run_details=None, error=None, state_history=None)
    client = SimpleNamespace(get_user_namespace=lambda: "n", get_run=lambda run_: run)
    assert watch(client, "id", "name", 0.0) == "SUCCEEDED"
