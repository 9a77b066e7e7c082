"""Every name that we use of a library and that is not its public interface: an upgrade fails here first."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.state import GradientState
from kfp import Client
from transformers import PretrainedConfig, Trainer, TrainingArguments
from trl import GRPOTrainer
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from tests.conftest import ROOT

SCANNED = ("src/selfemo", "components", "pipelines", "benchmarks", "tests/support")
LIBRARIES = ("torch", "transformers", "trl", "accelerate", "peft", "mlflow", "kfp", "datasets", "deepspeed", "vllm")
PUBLIC = {"_asdict", "_fields", "_replace", "_exit", "_value_"}
"""Of the standard library, documented in spite of their underscore."""


def takes(function: Callable[..., Any], *names: str) -> bool:
    """Whether a method's first parameters after self are these."""
    return tuple(inspect.signature(function).parameters)[1 : 1 + len(names)] == names


def sets(owner: type[Any], attribute: str) -> bool:
    """Whether a class gives its instances this attribute."""
    return bool(re.search(rf"\bself\.{attribute}(: [^=\n]+)? = ", inspect.getsource(owner.__init__)))


PRIVATE: dict[str, Callable[[], bool]] = {
    # accelerate: a step is several passes, of which the last alone exchanges gradients (training/packed.py).
    "_set_sync_gradients": lambda: takes(GradientState._set_sync_gradients, "sync_gradients"),
    # accelerate: tests put DeepSpeed on the CPU by it (tests/support).
    "_prepare_backend": lambda: takes(PartialState._prepare_backend, "cpu", "sagemaker_dp", "backend"),
    # torch: float32 products through oneDNN (policy/onednn.py, which does without where it is missing).
    "_linear_pointwise": lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    # transformers: which attention a model has; setting it is public, asking for it is not (policy/trees/attention.py).
    "_attn_implementation": lambda: isinstance(vars(PretrainedConfig)["_attn_implementation"], property),
    # transformers: a checkpoint is resumed on "cpu", not on "cpu:0" (training/common.py).
    "_setup_devices": lambda: isinstance(vars(TrainingArguments)["_setup_devices"], cached_property),
    # transformers: our own order of rows, and our own optimizer step (training/).
    "_get_train_sampler": lambda: takes(Trainer._get_train_sampler, "train_dataset"),
    "_prepare_inputs": lambda: takes(Trainer._prepare_inputs, "inputs"),
    # TRL: log-probabilities on packed trees, and SELF-GRPO's advantages in place of GRPO's (training/).
    "_get_per_token_logps_and_entropies": lambda: takes(
        GRPOTrainer._get_per_token_logps_and_entropies,
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
    ),
    "_calculate_rewards": lambda: takes(
        GRPOTrainer._calculate_rewards, "inputs", "prompts", "completions", "completion_ids_list"
    ),
    "_generate_and_score_completions": lambda: takes(GRPOTrainer._generate_and_score_completions, "inputs"),
    "_metrics": lambda: sets(GRPOTrainer, "_metrics"),
    "_step": lambda: sets(GRPOTrainer, "_step"),
    # kfp: what is sent besides a token; a look at the server that does not try for half a minute; and the namespace
    # that calls are given, which its public setter writes into the user's home (pipelines/kubeflow.py).
    "_experiment_api": lambda: sets(Client, "_experiment_api"),
    "_healthz_api": lambda: sets(Client, "_healthz_api"),
    "_run_api": lambda: sets(Client, "_run_api"),
    "_context_setting": lambda: "self._context_setting['namespace']" in inspect.getsource(Client.get_user_namespace),
    # TRL: the benchmark's stock trainer is given prompts as ids (benchmarks/training.py).
    "_tokenize_prompts": lambda: takes(GRPOTrainer._tokenize_prompts, "prompts"),
    "_generate_single_turn": lambda: takes(
        GRPOTrainer._generate_single_turn, "prompt_ids", "images", "multimodal_fields", "num_generations"
    ),
}
"""Name: whether it is there, as we use it."""

UNDOCUMENTED = (
    "mlflow.store.artifact.artifact_repository_registry.get_artifact_repository",
    "torch.distributed.launcher.api.elastic_launch",
    "torch.distributed.launcher.api.LaunchConfig",
    "transformers.integrations.flex_attention.flex_attention_forward",
    "transformers.integrations.sdpa_attention.sdpa_attention_forward",
    "transformers.masking_utils.sdpa_mask",
    "trl.generation.vllm_generation.VLLMGeneration.generate",
    "trl.models.utils.unwrap_model_for_generation",
    "uvicorn.protocols.http.h11_impl.H11Protocol",
    "uvicorn.protocols.http.h11_impl.RequestResponseCycle",
)
"""What has no underscore and is in no library's reference either; no scan finds these."""


ATTRIBUTES: dict[str, Callable[[], bool]] = {
    # uvicorn: a connection that waits for a request's head for too long is closed (serving/server.py).
    "H11Protocol.cycle": lambda: sets(H11Protocol, "cycle"),
    "H11Protocol.loop": lambda: sets(H11Protocol, "loop"),
    "H11Protocol.transport": lambda: sets(H11Protocol, "transport"),
    "H11Protocol.connection_made": lambda: takes(H11Protocol.connection_made, "transport"),
    "H11Protocol.connection_lost": lambda: takes(H11Protocol.connection_lost, "exc"),
    "RequestResponseCycle.response_complete": lambda: sets(RequestResponseCycle, "response_complete"),
}
"""The same of classes in :data:`UNDOCUMENTED`: what we read and override of them, as we do."""


def private(name: str) -> bool:
    return bool(re.fullmatch(r"_[a-zA-Z][a-zA-Z0-9_]*", name))


def files() -> Iterator[tuple[Path, ast.Module]]:
    for place in SCANNED:
        for path in sorted((ROOT / place).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def defined(tree: ast.AST) -> set[str]:
    """Private names that a module gives a meaning to itself, overrides among them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign) or (isinstance(node, ast.AnnAssign) and node.value is not None):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        found.add(part.id)
                    elif (
                        isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
                    ):
                        found.add(part.attr)
    return found


def overridden() -> set[str]:
    """Private methods of libraries' classes that a class of ours defines again."""
    found = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        if path.stem in ("vllm_engine", "__main__"):
            continue  # vLLM has an environment of its own, and derives from nothing of it
        module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
        written = defined(ast.parse(path.read_text(encoding="utf-8")))  # metaclasses add names of their own
        for _, kind in inspect.getmembers(module, inspect.isclass):
            theirs = [b for b in kind.__mro__ if b.__module__.split(".")[0] in LIBRARIES]
            if kind.__module__ == module.__name__:
                mine = {name for name in vars(kind) if private(name) and name in written}
                found |= {name for name in mine if any(name in vars(base) for base in theirs)}
    return found


def literals(nodes: Iterable[ast.expr]) -> list[str]:
    """Those of some expressions that are a text as it stands."""
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def used() -> dict[str, set[str]]:
    """Private names that are asked for and not defined here: where each is."""
    trees = list(files())
    ours = set().union(*(defined(tree) for _, tree in trees)) - set(PRIVATE)
    found: dict[str, set[str]] = {}
    for path, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                names = [node.attr]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
                names = literals(node.args[1:2])
            elif isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "__dict__":
                names = literals([node.slice])
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                names = [part for module in modules for part in module.split(".")]
            else:
                continue
            for name in names:
                if private(name) and name not in ours | PUBLIC:
                    found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_every_private_name_that_is_used_is_in_the_table() -> None:
    found = used()
    new = {name: places for name, places in found.items() if name not in PRIVATE}
    assert not new, "private names of a library"
    assert overridden() <= set(PRIVATE)
    text = "".join(path.read_text(encoding="utf-8") for path, _ in files())
    assert [name for name in PRIVATE if name not in text] == [], "no longer used: take it out"


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_is_there_as_it_is_used(name: str) -> None:
    assert PRIVATE[name]()


@pytest.mark.parametrize("name", UNDOCUMENTED)
def test_an_undocumented_name_is_there(name: str) -> None:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        break
    for part in parts[cut:]:
        found = getattr(found, part)
    assert callable(found)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_undocumented_attribute_is_there_as_it_is_used(name: str) -> None:
    assert ATTRIBUTES[name]()


def test_every_name_that_serving_takes_of_uvicorns_connection_is_in_the_table() -> None:
    from selfemo.serving import server

    (connection,) = [
        n for n in ast.walk(ast.parse(inspect.getsource(server))) if isinstance(n, ast.ClassDef) and n.name[0] == "_"
    ]
    asked = {n.attr for n in ast.walk(connection) if isinstance(n, ast.Attribute)} - {"seconds", "_look", "_look_after"}
    known = {name.partition(".")[2] for name in ATTRIBUTES}
    assert asked - {"call_later", "close", "cancel"} == known  # the three are asyncio's


def test_a_new_private_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(
        "import torch._planted_module\nclass Own:\n    def _known(self): return self._known, self._planted_attribute\n"
        "def of(x): return x._planted_method(), getattr(x, '_planted_string'), x.__dict__['_planted_key'], x._known\n"
    )
    monkeypatch.setattr(f"{__name__}.SCANNED", (str(tmp_path),))
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert set(used()) == {f"_planted_{kind}" for kind in ("module", "attribute", "method", "string", "key")}


def test_what_private_names_are_used_of_has_one_version() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for package in ("accelerate", "trl", "uvicorn"):
        assert re.search(rf'"{package}==[\d.]+"', text), package
