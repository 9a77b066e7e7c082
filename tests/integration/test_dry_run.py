"""The GPU configurations, as far as a machine without one can try them: a miniature of Qwen3 goes through the loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from selfemo import config as configuration
from selfemo.cli import main
from selfemo.errors import UserError
from selfemo.local import dryrun
from selfemo.policy.miniature import shrink
from selfemo.policy.weights import load_model, load_tokenizer

CONFIGS = Path(__file__).parents[2] / "configs"

SHAPES = {
    "qwen3-4b": dict(hidden_size=2560, intermediate_size=9728, tie_word_embeddings=True),
    "qwen3-8b": dict(hidden_size=4096, intermediate_size=12288, tie_word_embeddings=False),
}


def write_base(name: str, tiny: Path, directory: Path, layers: int = 36) -> Path:
    """What a dry run needs of the real base, which cannot be fetched here: its configuration and a tokenizer."""
    from transformers import Qwen3Config

    tokenizer = load_tokenizer(str(tiny))
    Qwen3Config(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        **SHAPES[name],
    ).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("name", SHAPES)
def test_the_miniature_keeps_all_of_the_architecture_but_its_width(name: str, tiny: Path, tmp_path: Path) -> None:
    base = write_base(name, tiny, tmp_path / name)
    shrink(str(base), tmp_path / "small")
    model = load_model(str(tmp_path / "small"))
    of = model.config
    assert (of.model_type, of.num_hidden_layers, of.num_attention_heads, of.num_key_value_heads) == ("qwen3", 36, 32, 8)
    assert of.tie_word_embeddings is (name == "qwen3-4b")
    assert of.hidden_size == 256
    assert model.num_parameters() < 30_000_000


def test_an_architecture_whose_width_has_other_names_is_refused(tiny: Path, tmp_path: Path) -> None:
    from transformers import BloomConfig

    load_tokenizer(str(tiny)).save_pretrained(tmp_path)
    BloomConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="intermediate_size"):
        shrink(str(tmp_path), tmp_path / "small")


@pytest.mark.parametrize("name", SHAPES)
def test_what_shapes_a_step_stays_in_a_dry_run(name: str) -> None:
    config = configuration.load(CONFIGS / f"{name}.yaml")
    small = dryrun.reduced(config, "/base")
    assert (small.launch, small.policy.engine, small.policy.vllm) == (config.launch, "vllm", config.policy.vllm)
    assert (small.grpo.group, small.grpo.prompts_per_step) == (config.grpo.group, config.grpo.prompts_per_step)
    assert small.loop.rounds == 1
    small.check_dealt_out("warmup")
    small.check_dealt_out("train")
    assert small.evaluation.dialogues == 2
    assert small.mlflow.model != config.mlflow.model


@pytest.mark.usefixtures("steps_that_are_loaded")
def test_a_gpu_configuration_goes_through_the_whole_loop(tiny: Path, workdir: Path, tmp_path: Path) -> None:
    """Of the two, the one that the other differs from in its width and in that it ties no embeddings."""
    base = write_base("qwen3-4b", tiny, tmp_path / "qwen3-4b", layers=3)  # more of them are more of the same
    here = [
        "corpora=[{name: sample}]",
        f"policy.base={base}",
        f"workdir={workdir}",
        "policy.engine=transformers",
        "launch.strategy=ddp",
        "launch.processes=1",
        "policy.precision=float32",
        "grpo.prompts_per_step=4",
        "grpo.group=4",
        "grpo.replay=1",
        "launch.pack_tokens=1024",
    ]
    arguments = ["dry-run", "--config", str(CONFIGS / f"{base.name}.yaml"), *(a for h in here for a in ("--set", h))]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "it works" in result.output
