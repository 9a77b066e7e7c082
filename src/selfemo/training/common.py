"""What warm-up and SELF-GRPO share: logging of metrics, resuming, saving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from selfemo.config import Config
from selfemo.progress import Meter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer


def arguments(config: Config, checkpoints: Path) -> dict[str, Any]:
    """Trainer arguments that do not depend on what is trained.

    Args:
        config: For the seed and the precision.
        checkpoints: Directory for checkpoints.
    """
    return {
        "output_dir": str(checkpoints),
        "seed": config.seed,
        "bf16": config.policy.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "save_total_limit": 2,  # the last may be half-written when a run is killed
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }


Log = Callable[[int, Mapping[str, float]], None]
"""Where metrics go as they come: optimizer step, and values by name."""


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Advances the progress meter after each optimizer step, and hands its metrics on."""

    def __init__(self, meter: Meter, log: Log) -> None:
        self.meter, self.log = meter, log

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.meter.advance()

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and (row := numbers(state.log_history[-1])):
            self.log(state.global_step, row)


def numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one log entry, times left out: equal runs give equal rows. Empty for the closing summary."""
    if "train_runtime" in entry:
        return {}
    return {k: float(v) for k, v in entry.items() if isinstance(v, (int, float)) and "time" not in k}


def history_of(trainer: Trainer) -> list[dict[str, float]]:
    """Metrics over steps."""
    return [row for entry in trainer.state.log_history if (row := numbers(entry))]


def run(trainer: Trainer, checkpoints: Path) -> None:
    """Train, from the last complete checkpoint if there is one."""
    trainer.remove_callback(PrinterCallback)  # the metrics go to the history, not to the screen
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    while last is not None and not (Path(last) / "trainer_state.json").is_file():
        shutil.rmtree(last)  # killed while it was written: the one before it counts
        last = get_last_checkpoint(str(checkpoints))
    trainer.train(resume_from_checkpoint=last)


def save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write weights (safetensors), tokenizer and the training history into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()  # a challenger is a whole model: the next round needs no adapter
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    (directory / "training.json").write_text(json.dumps(history_of(trainer), indent=1, sort_keys=True))
