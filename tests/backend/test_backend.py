"""From an empty namespace to a served model, on a real Kubeflow Pipelines: `make test-cluster`, half an hour.

Each test says what it needs by a fixture: the installation, or its first run.
"""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from typing import Any

import requests
import yaml

from manifests.access import spelled
from pipelines.kubeflow import listed
from pipelines.watch import active, how_it_ended
from tests.backend.backend import Backend, Json, until
from tests.conftest import ROOT

Done = subprocess.CompletedProcess[str]
SECONDS_A_STEP = 900
"""How long one step may take on a busy machine of two cores, its pod's coming included."""


def mlflow_runs(backend: Backend, run: str) -> list[dict[str, Any]]:
    """Pipeline runs of a name in MLflow, as its client user sees them."""
    user, password = (backend.secret("selfemo", f"MLFLOW_TRACKING_{what}") for what in ("USERNAME", "PASSWORD"))
    with backend.forwarded("svc/mlflow", 5000) as port:
        api = f"http://localhost:{port}/api/2.0/mlflow"

        def experiment() -> Any:
            try:
                return requests.get(
                    f"{api}/experiments/get-by-name",
                    {"experiment_name": backend.config.mlflow.experiment},
                    auth=(user, password),
                    timeout=30,
                ).json()
            except requests.ConnectionError:
                return None  # the tunnel is being made

        found = until(experiment, 60, "MLflow answers")
        body = {
            "experiment_ids": [found["experiment"]["experiment_id"]],
            "filter": f"tags.`selfemo.run` = '{run}' and tags.`selfemo.kind` = 'pipeline'",
        }
        answer = requests.post(f"{api}/runs/search", json=body, auth=(user, password), timeout=30).json()
        return list(answer.get("runs", []))


def test_what_is_installed_is_ready_and_serves_nothing_yet(backend: Backend) -> None:
    assert "schedule dev is made" in backend.ours("logs", "job/schedule")
    assert backend.read("deploy", "serving")["spec"]["replicas"] == 0
    (schedule,) = backend.client.list_recurring_runs(namespace=backend.namespace).recurring_runs
    assert (schedule.display_name, schedule.trigger.cron_schedule.cron) == ("dev", "0 0 3 * * *")


def test_a_run_of_one_round_succeeds_and_tells_of_every_step(backend: Backend, first: Done) -> None:
    assert first.returncode == 0, first.stderr
    told = [re.sub(r" in \d+ s$", "", line) for line in first.stderr.splitlines() if " succeeded in " in line]
    assert sorted(told) == sorted(
        [  # shards of one step end in any order
            "Prepare: succeeded",
            "Warm-up: succeeded",
            *(f"round 0: Evaluate, shard {n}: succeeded" for n in (1, 2)),
            "round 0: Decide: succeeded",
            *(f"round 1: Self-play, shard {n}: succeeded" for n in (1, 2)),
            "round 1: Filter: succeeded",
            "round 1: SELF-GRPO: succeeded",
            *(f"round 1: Evaluate, shard {n}: succeeded" for n in (1, 2)),
            "round 1: Decide: succeeded",
            "Report: succeeded",
        ]
    )
    assert [told[0], told[-1]] == ["Prepare: succeeded", "Report: succeeded"]
    (run,) = mlflow_runs(backend, "first")
    assert run["info"]["status"] == "FINISHED"


def test_the_version_that_is_champion_is_committed_to_git_and_served(backend: Backend, first: Done) -> None:
    """The reconciler's own Job commits it; what Git then has is applied, as Argo CD or Flux would."""
    assert first.returncode == 0, first.stderr
    command = ["sync-registry", "--config", "/etc/selfemo/config.yaml", "--set", "workdir=/tmp/work"]
    git = {"repository": backend.git_server(), "reference": "served/model.yaml", "branch": "main"}
    command += [part for name, value in git.items() for part in ("--set", f"gitops.{name}={value}")]
    champion = re.findall(r"version (\d+) of \S+ is champion", decided(backend))[-1]
    assert "committed on main, pushed" in backend.job("commit", "sync-registry", *command)
    assert f"Git already serves version {champion}" in backend.job("again", "sync-registry", *command)
    reference = yaml.safe_load(backend.committed("served/model.yaml"))
    assert (reference["data"]["model"], reference["data"]["version"]) == (backend.namespace, champion)
    (backend.overlay / "model.yaml").write_text(backend.committed("served/model.yaml"))
    backend.apply()
    backend.ours("rollout", "status", "deploy/serving", "--timeout=900s")
    key = backend.secret("serving-key", "key")
    turns = {"turns": [{"speaker": "Ann", "text": "We won!"}]}
    with backend.forwarded("svc/serving", 80) as port:

        def asked(**headers: str) -> Any:
            try:
                return requests.post(f"http://localhost:{port}/v1/emotions", json=turns, headers=headers, timeout=120)
            except requests.ConnectionError:
                return None

        answer = until(lambda: asked(authorization=f"Bearer {key}"), 120, "serving answers")
        assert answer.status_code == 200, answer.text
        assert answer.json()["turns"][0]["emotions"]
        assert asked().status_code == 401


def decided(backend: Backend) -> str:
    """What the decisions of the first run wrote, the oldest first: a round may pass the gate, or not."""
    (run,) = backend.runs("first")
    pods = [pod["metadata"]["name"] for pod in reversed(backend.pods(run.run_id, "decide"))]
    return "".join(backend.ours("logs", "-c", "main", pod) for pod in pods)


def test_a_step_that_fails_is_told_with_a_command_that_shows_why(backend: Backend) -> None:
    done = backend.submit("broken", "--set", "corpora=[{name: meld, path: s3://selfemo/nosuch}]", "--wait")
    assert done.returncode == 1, done.stderr
    command = re.search(r"Prepare: failed in .*\n  see: kubectl (.+)$", done.stderr, re.MULTILINE)
    assert command, done.stderr
    number = re.findall(r"grep (\d+)\)", command[1])[0]
    (pod,) = [name for name in backend.ours("get", "pods", "-o", "name").split() if number in name]
    assert "s3://selfemo/nosuch" in backend.ours("logs", "-c", "main", pod)
    said = done.stderr[done.stderr.index("run broken has ended: failed") :].splitlines()[
        1
    ]  # of the same log, by Kubeflow
    assert said.startswith("Prepare: prepare failed: ")
    assert "s3://selfemo/nosuch" in said
    (run,) = mlflow_runs(backend, "broken")
    assert run["info"]["status"] == "FAILED"


def test_a_pod_that_is_deleted_comes_again_and_what_was_terminated_goes_on(backend: Backend) -> None:
    longer = ["loop.rounds=0", "warmup.dialogues=24", "warmup.epochs=3"]  # there is time to see it run
    given = [part for one in longer for part in ("--set", one)]
    command = backend.submission("lost", *given, "--wait")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as waiting:
        try:
            (run,) = until(lambda: backend.runs("lost"), 300, "the run is there")
            (pod,) = until(lambda: running(backend, run.run_id, "warmup"), SECONDS_A_STEP, "warm-up runs")
            backend.ours("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
            # Argo 4.0.5 makes it anew under the same name, and counts no try.
            until(lambda: others(pod, running(backend, run.run_id, "warmup")), SECONDS_A_STEP, "it is there again")
            backend.client.terminate_run(run.run_id)
            _, told = waiting.communicate(timeout=SECONDS_A_STEP)
        finally:
            waiting.terminate()
    assert "Warm-up: running" in told
    assert "run lost has ended: canceled" in told
    until(lambda: mlflow_runs(backend, "lost")[0]["info"]["status"] == "KILLED", 300, "MLflow says that it was killed")

    done = backend.submit("lost", *given, "--wait")
    assert done.returncode == 0, done.stderr
    assert len(backend.runs("lost")) == 2
    pod = backend.pods(backend.runs("lost")[0].run_id, "prepare")[0]
    assert "prepare of round 0 is already there" in backend.ours("logs", "-c", "main", pod["metadata"]["name"])
    assert mlflow_runs(backend, "lost")[0]["info"]["status"] == "FINISHED"


def running(backend: Backend, run: str, step: str) -> list[Json]:
    """A step's pods that run."""
    return [pod for pod in backend.pods(run, step) if pod["status"]["phase"] == "Running"]


def others(one: Json, pods: list[Json]) -> list[Json]:
    """Those that are not this one, whatever they are called."""
    return [pod for pod in pods if pod["metadata"]["uid"] != one["metadata"]["uid"]]


def test_each_run_of_a_schedule_is_a_cycle_of_its_own(backend: Backend) -> None:
    done = backend.submit("nights", "--set", "loop.rounds=0", "--recurring", "*/30 * * * * *")
    assert done.returncode == 0, done.stderr
    schedule = done.stdout.strip()
    try:
        prepared = until(
            lambda: [
                pod
                for run in nights(backend, schedule)
                for pod in backend.pods(run.run_id, "prepare")
                if pod["status"]["phase"] == "Succeeded"
            ],
            SECONDS_A_STEP,
            "a run of the schedule has prepared its data",
        )
        log = backend.ours("logs", "-c", "main", prepared[0]["metadata"]["name"])
        cycle = re.search(r"\bnights-(\d{8}-\d{6})\b", log)
        assert cycle, log
        assert mlflow_runs(backend, cycle[0])
        # It is left alone now, and found by that name again.
        told = backend.submit("nights", "--set", "loop.rounds=0", "--again", "1").stderr
        assert f"{cycle[0]} is active" in told
    finally:
        end(backend, schedule)


def test_a_night_that_failed_is_started_again_and_a_schedule_that_was_paused_stays_so(backend: Backend) -> None:
    given = ["--set", "corpora=[{name: meld, path: s3://selfemo/nosuch}]"]
    done = backend.submit("bad-nights", *given, "--recurring", "*/30 * * * * *")
    assert done.returncode == 0, done.stderr
    schedules = [done.stdout.strip()]
    try:
        until(lambda: nights(backend, schedules[0]), 300, "a night is started")
        backend.client.disable_recurring_run(schedules[0])
        until(lambda: all_ended(nights(backend, schedules[0])), SECONDS_A_STEP, "it has ended")
        night = nights(backend, schedules[0])[0]
        assert how_it_ended(night, None) == "FAILED"

        started = backend.submit("bad-nights", *given, "--again", "1")
        assert started.returncode == 0, started.stderr
        once = backend.client.get_run(started.stdout.strip())
        assert re.fullmatch(r"bad-nights-\d{8}-\d{6}", once.display_name)
        assert backend.submit("bad-nights", *given, "--again", "1").stderr.count(f"{once.display_name} is active")
        until(lambda: all_ended(backend.runs(once.display_name)), SECONDS_A_STEP, "it has ended as well")
        assert len(mlflow_runs(backend, once.display_name)) == 1  # the night's own, which the second try went on with
        told = backend.submit("bad-nights", *given, "--again", "1").stderr
        assert f"{once.display_name} is left alone: it was started again 1 times, and failed" in told

        same = backend.submit("bad-nights", *given, "--recurring", "*/30 * * * * *")
        assert "schedule bad-nights is paused" in same.stderr
        assert same.stdout.strip() == schedules[0]
        later = backend.submit("bad-nights", *given, "--recurring", "0 0 4 * * *")
        schedules.append(later.stdout.strip())
        assert "schedule bad-nights is made, and paused as it was" in later.stderr
        assert "schedule bad-nights was another one; it is replaced" in later.stderr
        left = backend.client.list_recurring_runs(namespace=backend.namespace, page_size=100).recurring_runs
        (ours,) = [one for one in left if one.display_name == "bad-nights"]
        assert (ours.recurring_run_id, ours.status) == (schedules[1], "DISABLED")
        assert [run.run_id for run in nights(backend, schedules[0])].count(night.run_id)  # it stays readable
    finally:
        for schedule in schedules:
            end(backend, schedule)


def nights(backend: Backend, schedule: str) -> list[Any]:
    """Runs of a schedule, the newest first."""
    found = listed(backend.client.list_runs, "runs", namespace=backend.namespace, sort_by="created_at desc")
    return [run for run in found if run.recurring_run_id == schedule]


def all_ended(runs: list[Any]) -> bool:
    """Whether none of some runs is active any more."""
    return not any(active(run) for run in runs)


def end(backend: Backend, schedule: str) -> None:
    """Take a schedule away, and with it what its runs left in the cluster."""
    for run in nights(backend, schedule):
        if active(run):
            backend.client.terminate_run(run.run_id)
    with suppress(Exception):  # it was replaced
        backend.client.delete_recurring_run(schedule)


def test_each_account_may_do_exactly_what_its_file_says(backend: Backend) -> None:
    """Asked of the cluster itself: what it answers for an account, without what it answers for one with no rights."""
    wanted = yaml.safe_load((ROOT / "tests" / "manifests" / "can_i" / "dev.yaml").read_text())
    nothing = rights(backend, "default")
    assert {who: sorted(rights(backend, who) - nothing) for who in wanted} == wanted


def rights(backend: Backend, account: str) -> set[str]:
    """What a service account may do in our namespace, as the cluster reviews it."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": backend.namespace},
    }
    who = f"--as=system:serviceaccount:{backend.namespace}:{account}"
    answer = json.loads(
        backend.kubectl(who, "create", "--validate=false", "-f", "-", "-o", "json", stdin=json.dumps(review))
    )
    return set().union(*(spelled(rule) for rule in answer["status"]["resourceRules"]))
