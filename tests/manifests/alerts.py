"""Series as exporters give them, and which alert they make fire."""

from __future__ import annotations

from typing import NamedTuple

NAMESPACE = 'namespace="set-from-values"'


class Case(NamedTuple):
    """Series in promtool's notation, a value every so many ``minutes``, and whether the alert fires after a time."""

    alert: str
    series: dict[str, str]
    after: int
    fires: bool
    minutes: int = 1


FAILED = f'argo_workflows_total_count{{{NAMESPACE}, phase="Failed"}}'
SYNC = f'{{{NAMESPACE}, cronjob="sync-registry"}}'
CANARY = f'{{{NAMESPACE}, cronjob="canary-check"}}'
GC = f'{{{NAMESPACE}, cronjob="gc"}}'
REQUESTS, COLLECTED = "selfemo_requests_total", "selfemo_collected_total"
READ = f'selfemo_read_labels_total{{{{{NAMESPACE}, space="sample", label="{{}}"}}}}'
SECONDS = f'selfemo_request_seconds_bucket{{{NAMESPACE}, path="/v1/emotions"'
VLLM, VLLM_SECONDS = "http_requests_total", "vllm:e2e_request_latency_seconds_bucket"

CASES = {
    "the first run that fails": Case("SelfemoRunFailed", {FAILED: "_x20 1x20"}, 25, True),
    "a further run that fails": Case("SelfemoRunFailed", {FAILED: "3x20 4x20"}, 25, True),
    "another name of the same counter": Case(
        "SelfemoRunFailed", {FAILED.replace("_count", "_count_total"): "3x20 4x20"}, 25, True
    ),
    "a run that failed yesterday": Case("SelfemoRunFailed", {FAILED: "4x60"}, 50, False),
    "a controller that starts anew": Case("SelfemoRunFailed", {FAILED: "4x20 stale _x30"}, 30, False),
    "another namespace's run": Case(
        "SelfemoRunFailed", {FAILED.replace("set-from-values", "theirs"): "_x20 1x20"}, 25, False
    ),
    "a round that the guard stopped": Case(
        "SelfemoRoundStopped", {f'kube_job_status_failed{{{NAMESPACE}, job_name="stopped-rounds-28"}}': "1x10"}, 5, True
    ),
    "no round was stopped": Case(
        "SelfemoRoundStopped",
        {f'kube_job_status_failed{{{NAMESPACE}, job_name="stopped-rounds-28"}}': "0x10"},
        5,
        False,
    ),
    "what is served has drifted": Case(
        "SelfemoDrift", {f'kube_job_status_failed{{{NAMESPACE}, job_name="drift-28"}}': "1x10"}, 5, True
    ),
    "a label that is read more often than the week before": Case(
        "SelfemoLabelsMoved",
        {READ.format("joy"): "0+100x190 19000+10x48", READ.format("anger"): "0+100x190 19000+190x48"},
        14_100,
        True,
        minutes=60,
    ),
    "labels as they were the week before": Case(
        "SelfemoLabelsMoved",
        {READ.format("joy"): "0+100x240", READ.format("anger"): "0+50x240"},
        14_100,
        False,
        minutes=60,
    ),
    "what is served is as it was judged": Case(
        "SelfemoDrift", {f'kube_job_status_failed{{{NAMESPACE}, job_name="drift-28"}}': "0x10"}, 5, False
    ),
    "a canary that was rolled back": Case(
        "SelfemoCanaryRolledBack",
        {f'kube_job_status_failed{{{NAMESPACE}, job_name="canary-check-28"}}': "1x10"},
        5,
        True,
    ),
    "a canary that goes on": Case(
        "SelfemoCanaryRolledBack",
        {f'kube_job_status_failed{{{NAMESPACE}, job_name="canary-check-28"}}': "0x10"},
        5,
        False,
    ),
    "a canary that nobody could look at": Case(
        "SelfemoCanaryUnwatched", {f"kube_cronjob_created{CANARY}": "0x140"}, 130, True
    ),
    "a canary that was looked at just now": Case(
        "SelfemoCanaryUnwatched",
        {f"kube_cronjob_created{CANARY}": "0x140", f"kube_cronjob_status_last_successful_time{CANARY}": "3600x140"},
        130,
        False,
    ),
    "no canaries at all": Case("SelfemoCanaryUnwatched", {f"kube_cronjob_created{SYNC}": "0x140"}, 130, False),
    "a schedule that was not made": Case(
        "SelfemoScheduleFailed", {f'kube_job_status_failed{{{NAMESPACE}, job_name="schedule"}}': "1x10"}, 5, True
    ),
    "a schedule that was made": Case(
        "SelfemoScheduleFailed", {f'kube_job_status_failed{{{NAMESPACE}, job_name="schedule"}}': "0x10"}, 5, False
    ),
    "Git was held against the registry long ago": Case(
        "SelfemoSyncFailing", {f"kube_cronjob_status_last_successful_time{SYNC}": "0x80"}, 70, True
    ),
    "Git was never held against the registry": Case(
        "SelfemoSyncFailing", {f"kube_cronjob_created{SYNC}": "0x80"}, 70, True
    ),
    "Git was held against the registry just now": Case(
        "SelfemoSyncFailing",
        {f"kube_cronjob_created{SYNC}": "0x80", f"kube_cronjob_status_last_successful_time{SYNC}": "3600x80"},
        70,
        False,
    ),
    "nothing was ever removed": Case(
        "SelfemoGarbageCollectionFailing", {f"kube_cronjob_created{GC}": "0x80"}, 4380, True, minutes=60
    ),
    "something was removed yesterday": Case(
        "SelfemoGarbageCollectionFailing",
        {f"kube_cronjob_created{GC}": "0x80", f"kube_cronjob_status_last_successful_time{GC}": "172800x80"},
        4380,
        False,
        minutes=60,
    ),
    "no MLflow": Case(
        "SelfemoMlflowDown",
        {f'kube_deployment_status_replicas_available{{{NAMESPACE}, deployment="mlflow"}}': "0x20"},
        15,
        True,
    ),
    "one of two MLflow servers": Case(
        "SelfemoMlflowDown",
        {f'kube_deployment_status_replicas_available{{{NAMESPACE}, deployment="mlflow"}}': "1x20"},
        15,
        False,
    ),
    "a served model that does not start": Case(
        "SelfemoServingDown",
        {f'kube_deployment_status_replicas_unavailable{{{NAMESPACE}, deployment="serving"}}': "1x20"},
        15,
        True,
    ),
    "a served model that is replaced": Case(
        "SelfemoServingDown",
        {f'kube_deployment_status_replicas_unavailable{{{NAMESPACE}, deployment="serving"}}': "0x5 1x5 0x10"},
        15,
        False,
    ),
    "one answer in ten an error": Case(
        "SelfemoServingFailing",
        {f'{REQUESTS}{{{NAMESPACE}, status="200"}}': "0+90x40", f'{REQUESTS}{{{NAMESPACE}, status="500"}}': "0+10x40"},
        30,
        True,
    ),
    "one answer in a hundred an error": Case(
        "SelfemoServingFailing",
        {f'{REQUESTS}{{{NAMESPACE}, status="200"}}': "0+99x40", f'{REQUESTS}{{{NAMESPACE}, status="500"}}': "0+1x40"},
        30,
        False,
    ),
    "one request in ten sent away": Case(
        "SelfemoServingFull",
        {f'{REQUESTS}{{{NAMESPACE}, status="200"}}': "0+90x40", f'{REQUESTS}{{{NAMESPACE}, status="429"}}': "0+10x40"},
        30,
        True,
    ),
    "no request sent away": Case(
        "SelfemoServingFull", {f'{REQUESTS}{{{NAMESPACE}, status="200"}}': "0+90x40"}, 30, False
    ),
    "answers that take twenty seconds": Case(
        "SelfemoServingLate",
        {f'{SECONDS}, le="10"}}': "0+1x40", f'{SECONDS}, le="30"}}': "0+9x40", f'{SECONDS}, le="+Inf"}}': "0+9x40"},
        35,
        True,
    ),
    "answers that take a second": Case(
        "SelfemoServingLate",
        {f'{SECONDS}, le="1"}}': "0+9x40", f'{SECONDS}, le="10"}}': "0+9x40", f'{SECONDS}, le="+Inf"}}': "0+9x40"},
        35,
        False,
    ),
    "one of vLLM's answers in ten is its error": Case(
        "SelfemoServingErrors",
        {
            f'{VLLM}{{{NAMESPACE}, handler="/v1/chat/completions", status="2xx"}}': "0+90x40",
            f'{VLLM}{{{NAMESPACE}, handler="/v1/chat/completions", status="5xx"}}': "0+10x40",
        },
        30,
        True,
    ),
    "vLLM's clients ask for what is not there": Case(
        "SelfemoServingErrors",
        {
            f'{VLLM}{{{NAMESPACE}, handler="/v1/chat/completions", status="2xx"}}': "0+50x40",
            f'{VLLM}{{{NAMESPACE}, handler="/v1/chat/completions", status="4xx"}}': "0+50x40",
        },
        30,
        False,
    ),
    "vLLM takes twenty seconds": Case(
        "SelfemoServingSlow",
        {
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="10"}}': "0+1x40",
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="20"}}': "0+9x40",
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="+Inf"}}': "0+9x40",
        },
        35,
        True,
    ),
    "vLLM takes a second": Case(
        "SelfemoServingSlow",
        {
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="1"}}': "0+9x40",
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="10"}}': "0+9x40",
            f'{VLLM_SECONDS}{{{NAMESPACE}, le="+Inf"}}': "0+9x40",
        },
        35,
        False,
    ),
    "conversations that the store does not take": Case(
        "SelfemoCollectionLost",
        {
            f'{COLLECTED}{{{NAMESPACE}, outcome="failed"}}': "0+1x80",
            f'{COLLECTED}{{{NAMESPACE}, outcome="stored"}}': "0x80",
        },
        70,
        True,
    ),
    "conversations that are stored": Case(
        "SelfemoCollectionLost",
        {
            f'{COLLECTED}{{{NAMESPACE}, outcome="failed"}}': "3x80",
            f'{COLLECTED}{{{NAMESPACE}, outcome="stored"}}': "0+1x80",
        },
        70,
        False,
    ),
    "training waits all day": Case(
        "SelfemoTrainingQueued", {'kueue_pending_workloads{cluster_queue="selfemo"}': "1x400"}, 390, True
    ),
    "training waits an hour": Case(
        "SelfemoTrainingQueued", {'kueue_pending_workloads{cluster_queue="selfemo"}': "1x60 0x340"}, 390, False
    ),
}
