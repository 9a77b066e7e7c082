"""Where each step runs and how it is tried: one table, and what a profile makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl, kubernetes

from components.images import Images
from selfemo.cluster.trainjob import KEYS, WORKDIR
from selfemo.config.cluster import CA_DIRECTORY, TRAINER, ClusterSettings, Pod
from selfemo.runs.going import TITLES

BACKOFF = "10s"
"""Before the second try of a step; twice as long before the third, and so on."""


@dataclass(frozen=True)
class Step:
    """How a step is shown, where it runs, and how often it is tried.

    Attributes:
        title: Its name in the user interface.
        kind: Which pod of :class:`selfemo.config.cluster.Pods`.
        retries: Tries after the first.
    """

    title: str
    kind: str
    retries: int


# Retries are for pods that are evicted, preempted or lost with their node: KFP 2.17 tells Argo to retry nothing else
# (retryPolicy OnError), so what may pass by itself, such as a server that is away, is waited for inside the step. A
# finished step, or shard, returns at once by its manifest, and training goes on from its last checkpoint.
STEPS = {
    "prepare": Step(TITLES["prepare"], "light", 2),
    "warmup": Step(TITLES["warmup"], "train", 2),
    "generate": Step(
        TITLES["generate"], "generate", 3
    ),  # a shard is short, and many run at once: more of them are evicted
    "filter": Step(TITLES["filter"], "light", 2),
    "train": Step(TITLES["train"], "train", 2),
    "evaluate": Step(TITLES["evaluate"], "evaluate", 3),
    "decide": Step(TITLES["decide"], "light", 2),  # resumes by its record: registry and alias are made to agree with it
    "carry": Step("Carry on", "light", 1),
    "report": Step("Report", "light", 1),  # the run's own result must not depend on its page
}


IMAGES = {"light": "pipeline", "generate": "generation", "evaluate": "generation", "train": "training"}
"""Which of :class:`components.images.Images` each kind of pod runs."""


QUEUED_DAYS = 14
"""A step, or the TrainJob that it waits for, may wait in a queue, for no more than this if it is to be retried."""


def _window(retries: int, minutes: int, queued: bool) -> str:
    """How long a step may be retried.

    KFP hands ``backoff_max_duration`` to Argo as ``maxDuration``, which counts from the start of the first try: a
    retry that begins later is not made, and one that runs then is killed. So it is all tries together, with what each
    may wait in a queue, and some more for the pods to come.
    """
    longest = minutes * 60 + (QUEUED_DAYS * 86_400 if queued else 0)
    return f"{(retries + 1) * (longest + 600)}s"


def place(task: dsl.PipelineTask, step: str, cluster: ClusterSettings, images: Images) -> dsl.PipelineTask:
    """Give a task its name, its image, its pod and its retries.

    Args:
        task: Of a component.
        step: A key of :data:`STEPS`.
        cluster: Of the configuration.
        images: That steps run in.
    """
    what = STEPS[step]
    pod: Pod = getattr(cluster.pods, what.kind)
    minutes, image = pod.minutes, getattr(images, IMAGES[what.kind])
    if what.kind == "train":
        task.set_env_variable(TRAINER, cluster.trainer)  # the step holds its configuration against it
        if cluster.trainer == "trainjob":
            # The step only waits for the TrainJob, which may be queued for days: the launcher keeps the time.
            pod, minutes, image = cluster.pods.light, 0, images.pipeline
            task.set_env_variable("SELFEMO_IMAGE_TRAINING", images.training)
    task.set_container_image(image)
    task.set_display_name(what.title)
    # KFP's cache key holds the image's name and nothing of the library inside; the manifests of the store are ours.
    task.set_caching_options(False)
    if step != "report":  # exit tasks are not retried by KFP
        task.set_retry(what.retries, BACKOFF, 2.0, _window(what.retries, minutes, bool(pod.queue) or not minutes))
    cpu, memory = pod.requests
    task.set_cpu_request(cpu).set_cpu_limit(pod.cpu).set_memory_request(memory).set_memory_limit(pod.memory)
    if pod.accelerators:
        task.set_accelerator_type(pod.accelerator).set_accelerator_limit(pod.accelerators)
    if minutes:
        kubernetes.set_timeout(task, minutes * 60)
    if cluster.volume and pod is cluster.pods.train:
        kubernetes.mount_pvc(task, cluster.volume, WORKDIR)  # a retry finds its checkpoints there
    else:
        kubernetes.empty_dir_mount(task, "work", WORKDIR, size_limit=pod.disk or None)
    if pod.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=pod.shm)  # noqa: S108
    for key, value in sorted(pod.node_selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for taint in pod.tolerations:
        given: dict[str, Any] = {k: v for k, v in taint.model_dump().items() if v}
        kubernetes.add_toleration(task, **given)
    if pod.queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", pod.queue)
    for name, value in sorted(cluster.variables.items()):
        task.set_env_variable(name, value)
    if cluster.ca_bundle:
        kubernetes.use_config_map_as_volume(task, cluster.ca_bundle, CA_DIRECTORY)
    if cluster.secret:
        kubernetes.use_secret_as_env(task, cluster.secret, {k: k for k in KEYS}, optional=True)
    return task
