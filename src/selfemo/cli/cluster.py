"""The pipeline on a cluster, ``selfemo compile`` and ``selfemo submit``; what is left there, ``reap-trainjobs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfemo.cli.base import configured
from selfemo.cli.output import Report, reports
from selfemo.errors import Exit

if TYPE_CHECKING:
    from selfemo.config import Config


@click.command("compile")
@configured
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory for what is compiled.")
@reports("files")
def compile_(config: Config, out: Path) -> Report | None:
    """Compile the pipeline for a cluster: plain YAML, and Pipeline and PipelineVersion manifests for GitOps.

    Pods ask for what the configuration's cluster section gives them. Images come from SELFEMO_IMAGE_PIPELINE,
    SELFEMO_IMAGE_GENERATION and SELFEMO_IMAGE_TRAINING: name them by digest. The same input gives the same bytes.
    A run that would be larger than a cluster takes is refused, as by submit, and the size of each form is told.

    \b
    Example:
      selfemo compile --config configs/qwen3-4b.yaml --set cluster.profile=node8 --out build/
    """
    from selfemo.local.runner import in_checkout

    code, files = in_checkout("pipelines.compile", config, "--config", "CONFIG", "--out", str(out.absolute()))
    return _of(code, {"files": files})


@click.command()
@configured
@click.option("--wait", is_flag=True, help="Follow the run; the exit code is its outcome.")
@click.option(
    "--resume",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With --wait: run again what failed.",
)
@click.option("--recurring", metavar="CRON", help="Make it a schedule, such as '0 0 3 * * *': with seconds first.")
@click.option(
    "--again",
    type=click.IntRange(1),
    metavar="N",
    help="Start the schedule's last cycle again if it failed, N times at most.",
)
@click.option("--cycle", default="", metavar="NAME", help="Run one cycle of the schedule, such as 20261126-030000.")
@click.option("--form", type=click.Path(path_type=Path), help="Compiled pipeline; default: form.yaml next to --config.")
@reports("run", "id", "succeeded")
def submit(
    config: Config, wait: bool, resume: int, recurring: str | None, again: int | None, cycle: str, form: Path | None
) -> Report | None:
    """Run the loop on a cluster, through Kubeflow Pipelines; prints the run's id.

    The same command again finds the run that is active. One that failed is started anew, and finished steps return
    at once. Where form.yaml lies next to the configuration, that is what runs, as Git has it; elsewhere the pipeline is
    compiled from this checkout. A schedule gives each of its runs a name of its own; --again starts its last one again
    if that failed, and prints nothing where it starts nothing. Who we are is read from SELFEMO_KFP_TOKEN,
    SELFEMO_KFP_COOKIE or SELFEMO_KFP_USER.

    \b
    Example:
      selfemo submit --config configs/qwen3-4b.yaml --set cluster.host=https://kfp.example.org --wait
    """
    from selfemo import cycles
    from selfemo.local.runner import in_checkout

    path = click.get_current_context().params.get("path")
    if form is None and path is not None and (path.parent / "form.yaml").is_file():
        form = path.parent / "form.yaml"
    flags = ["--cycle", cycle, "--resume", str(resume), *(["--wait"] if wait else [])]
    flags += ["--recurring", recurring] if recurring is not None else []
    flags += ["--again", str(again)] if again else []
    flags += ["--form", str(form.absolute())] if form else []
    code, said = in_checkout("pipelines.submit", config, "CONFIG", *flags)
    known = {"run": cycles.of(config, cycle).run, "id": said[-1] if said else None}
    return _of(code, {**known, "succeeded": code is Exit.DONE if wait else None})


def _of(code: Exit, values: dict[str, Any]) -> Report | None:
    """What a command of the checkout came to; it has said so itself, and if it was none, why."""
    if code in (Exit.DONE, Exit.NO):
        return Report(values, exit=code)
    raise SystemExit(code)


@click.command()
@configured
@click.option("--namespace", help="Where to look; default: cluster.namespace.")
@reports("namespace", "deleted")
def reap_trainjobs(config: Config, namespace: str | None) -> Report:
    """Delete TrainJobs whose launchers were killed: their accelerators are free again.

    A TrainJob goes if it runs or waits, and all pods that own it are gone or have ended some minutes ago. It may be run
    at any time; what it deleted, and why, is printed. In a pod it uses the pod's account, elsewhere the kubeconfig.

    \b
    Example:
      selfemo reap-trainjobs --namespace self-emo
    """
    from selfemo.cluster.reaper import reap
    from selfemo.cluster.train import api_client

    namespace = namespace or config.cluster.namespace
    deleted = reap(api_client(fix="run it in a pod of the cluster, or with a kubeconfig"), namespace)
    said = [f"TrainJob {namespace}/{name} is deleted: {why}" for name, why in deleted.items()]
    values = {"namespace": namespace, "deleted": deleted}
    return Report(values, "\n".join(said) or f"no TrainJob of namespace {namespace} is without a launcher")
