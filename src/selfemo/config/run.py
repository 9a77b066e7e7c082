"""The one configuration of a run: typed, validated, hashed for each step.

Each step hashes only the sections it reads (:data:`SECTIONS`), so changing the gate does not make a
finished generation run again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from selfemo.config.canary import CanarySettings
from selfemo.config.cluster import ClusterSettings
from selfemo.config.platform import (
    CorpusSettings,
    CycleSettings,
    FeedbackSettings,
    GitopsSettings,
    LaunchSettings,
    MlflowSettings,
    PolicySettings,
    StoreSettings,
)
from selfemo.config.section import Section
from selfemo.config.sections import (
    EvaluationSettings,
    FlywheelSettings,
    GateSettings,
    GrpoSettings,
    GuardSettings,
    LoopSettings,
    RewardsSettings,
    SelfPlaySettings,
    WarmupSettings,
)
from selfemo.data.corpora.table import CORPORA
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError


class Config(Section):
    """A whole run. `configs/*.yaml` are instances; `selfemo run --set loop.rounds=3` overrides."""

    run: str = Field("demo", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Name of the run: running the same name again resumes it."""
    seed: int = Field(7, ge=0, lt=2**31)
    """Of every draw: dialogues, samples, resamples."""
    workdir: str = Field(".selfemo", pattern=r"\S")
    """Services' data, caches and logs of this machine."""
    corpora: tuple[CorpusSettings, ...] = Field((CorpusSettings(name="sample"),), min_length=1)
    """The first is the gate corpus; none twice, also not in another form or under other labels."""
    feedback: FeedbackSettings = FeedbackSettings()
    cycle: CycleSettings | None = None
    """Null for a run that is no cycle of a schedule."""
    policy: PolicySettings = PolicySettings()
    warmup: WarmupSettings = WarmupSettings()
    selfplay: SelfPlaySettings = SelfPlaySettings()
    rewards: RewardsSettings = RewardsSettings()
    flywheel: FlywheelSettings = FlywheelSettings()
    grpo: GrpoSettings = GrpoSettings()
    launch: LaunchSettings = LaunchSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    guard: GuardSettings = GuardSettings()
    gate: GateSettings = GateSettings()
    loop: LoopSettings = LoopSettings()
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    cluster: ClusterSettings = ClusterSettings()
    gitops: GitopsSettings = GitopsSettings()
    canary: CanarySettings | None = None
    """Null promotes at once."""

    @field_validator("corpora")
    @classmethod
    def _each_once(cls, corpora: tuple[CorpusSettings, ...]) -> tuple[CorpusSettings, ...]:
        names = [corpus.name for corpus in corpora]
        if twice := next((n for n in names if names.count(n) > 1), None):  # its dialogues would count twice
            raise ValueError(f"{twice} is named {names.count(twice)} times: name each corpus once")
        conversations: dict[str, str] = {}
        for name in names:
            known = CORPORA.get(name)
            if (other := conversations.setdefault(known.same_as if known and known.same_as else name, name)) != name:
                raise ValueError(f"{other} and {name} hold the same conversations: name one of them")
        return corpora

    @field_validator("evaluation")
    @classmethod
    def _judge_outside(cls, evaluation: EvaluationSettings, info: ValidationInfo) -> EvaluationSettings:
        if evaluation.judge == "tfidf" and (play := info.data.get("selfplay")) and play.words:
            raise ValueError("judge: tfidf is no judge of what selfplay.words taught: set judge: embedding")
        return evaluation

    @property
    def processes(self) -> int:
        """Processes that train together, over all nodes."""
        return self.launch.processes * (self.cluster.nodes if self.cluster.trainer == "trainjob" else 1)

    @property
    def division_seed(self) -> int:
        """Draws who is learnt from and who is scored: the schedule's for all its cycles, whose own differ."""
        return self.seed if self.cycle is None else self.cycle.seed

    def spaces(self) -> dict[str, LabelSpace]:
        """The label spaces of the corpora by name, the gate corpus first: read once, and handed on.

        Raises:
            UserError: If the labels of a corpus of the user's own were not found with the configuration.
        """
        return {corpus.name: corpus.space for corpus in self.corpora}

    def check_dealt_out(self, step: Literal["warmup", "train"]) -> None:
        """Make sure that what a training step deals out to its processes comes out even.

        Args:
            step: Which; what a run of this configuration does not do there is not looked at.

        Raises:
            UserError: Names the setting that does not.
        """
        dealt_out: dict[str, int] = {}
        if step == "warmup" and self.warmup.epochs and self.warmup.dialogues:
            dealt_out["warmup.dialogues_per_step"] = self.warmup.dialogues_per_step
        if step == "train" and self.loop.rounds and self.grpo.objective == "self-grpo":
            dealt_out["grpo.prompts_per_step"] = self.grpo.prompts_per_step
            dealt_out["grpo.replay"] = self.grpo.replay if self.warmup.dialogues or self.feedback.path else 0
        for name, count in dealt_out.items():
            check_even(count, self.processes, name)

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back; how a config travels into a step."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of :meth:`to_json`.

        Raises:
            UserError: If the text is not a configuration.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(first["msg"], where="config: " + ".".join(map(str, first["loc"]))) from None

    def digest(self, step: str) -> str:
        """Hash of the sections a step reads; with its inputs and its code, what its result depends on."""
        data = self.model_dump(mode="json")
        used = {name: data[name] for name in SECTIONS[step]}
        text = json.dumps([step, used], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def check_even(count: int, processes: int, name: str) -> None:
    """Make sure that ``count`` equal things can be dealt out to processes.

    Args:
        count: Over all processes.
        processes: How many there are.
        name: The setting, for the error.

    Raises:
        UserError: If they cannot.
    """
    if count % processes:
        raise UserError(
            f"{count} cannot be dealt out to {processes} processes",
            where=name,
            fix=f"set it to a multiple of {processes}, or change launch.processes or cluster.nodes",
        )


SECTIONS: dict[str, tuple[str, ...]] = {
    "feedback": ("corpora", "feedback", "cycle"),
    "prepare": ("seed", "corpora", "warmup", "evaluation", "feedback", "cycle"),
    "warmup": ("seed", "policy", "warmup"),
    "generate": ("seed", "policy", "selfplay", "rewards"),
    "gather": ("seed", "policy", "selfplay", "rewards"),
    "filter": ("seed", "rewards", "flywheel", "guard"),
    "train": ("seed", "policy", "warmup", "rewards", "grpo", "selfplay", "flywheel"),
    "evaluate": ("seed", "policy", "evaluation", "selfplay"),
    "score": ("seed", "policy", "evaluation", "selfplay", "rewards"),
    "decide": ("seed", "guard", "gate", "loop", "evaluation", "mlflow"),
}
"""The sections each step reads."""
