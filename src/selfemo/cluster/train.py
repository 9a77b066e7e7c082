"""Do a training step on Kubeflow Trainer instead of in this pod."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfemo.cluster.trainjob import CONFIG, WORKDIR, Json, job_name, manifest
from selfemo.config import Config
from selfemo.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

PASSED_ON = (
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "HF_HUB_OFFLINE",
    "MLFLOW_TRACKING_URI",
    "SELFEMO_CODE_VERSION",
    "SELFEMO_DATA",
)
"""Variables of this pod that the job's pods get too; secrets come from their Secret."""


def job_of(config: Config, step: str, round: int, uri: str, arguments: Sequence[str]) -> Json:
    """The TrainJob of a training step.

    Args:
        config: Of the run.
        step: ``warmup`` or ``train``.
        round: Its number.
        uri: Where the step publishes, which names what it depends on.
        arguments: Of ``selfemo train``.

    Raises:
        UserError: If no image is named.
    """
    image = os.environ.get("SELFEMO_IMAGE_TRAINING")
    if not image:
        raise UserError(
            "the image of TrainJobs is not named",
            where="SELFEMO_IMAGE_TRAINING",
            fix="`selfemo submit` sets it; elsewhere, set it to the training image, by digest",
        )
    there = config.model_copy(update={"workdir": WORKDIR})
    environment = {k: os.environ[k] for k in PASSED_ON if os.environ.get(k)} | {CONFIG: there.to_json()}
    pod, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return manifest(
        config,
        job_name(config.run, step, round, uri.rsplit("-", 1)[1]),
        image,
        ["train", *arguments],
        environment=environment,
        owner=(pod, uid) if pod and uid else None,
    )


def train_on_cluster(config: Config, step: str, round: int, uri: str, arguments: Sequence[str]) -> None:
    """Run a training step as a TrainJob to its end; its pods publish the artifact themselves.

    Raises:
        UserError: See :meth:`selfemo.cluster.launcher.Launcher.run`.
    """
    from selfemo.cluster.launcher import Launcher

    api = api_client(fix="set cluster.trainer: pod")
    Launcher(api).run(job_of(config, step, round, uri, arguments), config.cluster.pods.train.minutes)


def api_client(fix: str) -> ApiClient:
    """A client of the cluster that this process runs in, or else of the one that kubectl would use.

    Args:
        fix: What to do where there is neither, for the error.

    Raises:
        UserError: If there is neither.
    """
    from kubernetes import client, config

    try:
        if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config()
        else:
            config.load_kube_config()
    except config.ConfigException as error:
        raise UserError(
            f"no Kubernetes cluster: {error}", where="this pod's service account, or the kubeconfig", fix=fix
        ) from None
    return client.ApiClient()
