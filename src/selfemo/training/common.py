"""What warm-up and SELF-GRPO share: arguments, logging of metrics, resuming, saving."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl.models.utils import unwrap_model_for_generation

from selfemo import processes
from selfemo.config import Config
from selfemo.config.run import check_even
from selfemo.errors import UserError
from selfemo.policy import adapters, compute
from selfemo.progress import Meter, heartbeat
from selfemo.store.checkpoints import Checkpoints
from selfemo.training.checkpoints import Keeper, restore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments


log = logging.getLogger(__name__)


def arguments(config: Config, checkpoints: Path) -> dict[str, Any]:
    """Trainer arguments that do not depend on what is trained.

    Args:
        config: For the seed, the precision and the strategy.
        checkpoints: Directory for checkpoints.
    """
    strategy = config.launch.strategy
    return {
        "output_dir": str(checkpoints),
        "seed": config.seed,
        "bf16": compute.compute(config.policy).bfloat16,
        "use_cpu": strategy == "ddp" and not torch.cuda.is_available(),
        # On a CPU it costs time and saves nothing needed; on a GPU a large pack does not fit without it (docs/gpu.md).
        "gradient_checkpointing": torch.cuda.is_available(),
        "deepspeed": None if strategy == "ddp" else deepspeed_settings(strategy),
        "ddp_find_unused_parameters": False,
        "save_total_limit": 2,  # the last may be half-written when a run is killed
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }


def pack_tokens(config: Config) -> int:
    """Most tokens of one training pass here."""
    return compute.pack_tokens(config, compute.compute(config.policy).device)


def deepspeed_settings(strategy: str) -> dict[str, Any]:
    """DeepSpeed's configuration; what Trainer arguments say is left to them ("auto").

    Args:
        strategy: ``zero2`` or ``zero3``.
    """
    on_gpu = torch.cuda.is_available()
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": int(strategy.removeprefix("zero")),
            "overlap_comm": on_gpu,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }


def share(count: int, name: str) -> int:
    """A rank's part of ``count`` equal things.

    Args:
        count: Over all ranks.
        name: The setting, for the error.

    Raises:
        UserError: If they cannot be dealt out evenly.
    """
    check_even(count, processes.world(), name)
    return count // processes.world()


def check_processes(given: TrainingArguments, config: Config) -> None:
    """Make sure that the processes will train together: libraries fall back to one each without a word.

    Raises:
        UserError: If they will not.
    """
    found = given.distributed_state.num_processes
    if found != processes.world():
        raise UserError(
            f"{config.launch.strategy}: {processes.world()} processes were started, and each would train alone",
            where="launch.strategy",
            fix="DeepSpeed needs GPUs; on a CPU use launch.strategy=ddp",
        )
    if given.device.type == "cpu":
        # With several processes it is "cpu:0", which torch.load does not know when a checkpoint is resumed.
        given.__dict__["_setup_devices"] = torch.device("cpu")


Log = Callable[[int, Mapping[str, float]], None]
"""Where metrics go as they come: optimizer step, and values by name."""


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers and trl have no types
    """Advances the progress meter after each optimizer step, and hands its metrics on."""

    def __init__(self, meter: Meter, log: Log) -> None:
        self.meter, self.log = meter, log

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step:  # training goes on from a checkpoint
            self.meter.resume(state.global_step)

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


def run(trainer: Trainer, checkpoints: Path, kept: Checkpoints | None = None) -> None:
    """Train, from the last complete checkpoint if there is one.

    Args:
        trainer: Whose checkpoints lie in that directory.
        checkpoints: Directory.
        kept: Where they are kept in the store; None keeps them here alone.
    """
    trainer.remove_callback(PrinterCallback)  # the metrics go to the history, not to the screen
    last = restore(checkpoints, kept)
    if processes.launched():
        state = trainer.accelerator.state
        stage = f" ZeRO-{state.deepspeed_plugin.zero_stage}" if trainer.is_deepspeed_enabled else ""
        log.info("%d processes train together: %s%s", state.num_processes, state.distributed_type.value, stage)
    keeper = Keeper(checkpoints, kept) if kept is not None else None
    if keeper is not None:
        trainer.add_callback(keeper)
    trainer.train(resume_from_checkpoint=last)
    if keeper is not None:
        keeper.finish()


def save(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, directory: Path, adapter_over: str | None = None
) -> None:
    """Write weights (safetensors), tokenizer and the training history into a directory, on rank 0.

    Every rank takes part, since each may hold a shard of the weights.

    Args:
        trainer: Done training.
        tokenizer: Saved with the weights.
        directory: For both.
        adapter_over: Save a LoRA adapter alone, over the policy of this URI; else it is merged.
    """
    unwrapped = unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator)
    with heartbeat("saving the policy"), unwrapped as model:
        if adapter_over is None and hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
        if processes.rank() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            if adapter_over is None:
                model.save_pretrained(directory, safe_serialization=True)
            else:
                adapters.publish(model, directory, adapter_over)
            tokenizer.save_pretrained(directory)
            (directory / "training.json").write_text(json.dumps(history_of(trainer), indent=1, sort_keys=True))
    trainer.accelerator.wait_for_everyone()
    if processes.launched() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
