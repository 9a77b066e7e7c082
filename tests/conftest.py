"""What the tests share: a tiny real model, the real servers, and small configurations."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sqlite3 import dbapi2
from typing import Any, TypeVar

import hypothesis
import pytest

from selfemo import config as configuration
from selfemo import services
from selfemo.config import Config
from selfemo.data.corpora import load_corpus
from selfemo.data.corpora.rows import BadRows
from selfemo.data.dialogue import Dialogue
from tests import forks
from tests.spaces import SPACES

ROOT = Path(__file__).parents[1]
T = TypeVar("T")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

hypothesis.settings.register_profile("ours", deadline=None)  # a busy machine is no error
hypothesis.settings.load_profile("ours")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of models this small wait for each other most of the time
os.environ.pop("MLFLOW_TRACKING_URI", None)


def _unsynced(*arguments: Any, **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connect(*arguments, **options)
    connection.execute("PRAGMA synchronous=OFF")
    return connection


_connect: Callable[..., Any] = dbapi2.connect


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """MLflow in the tests' own process commits thousands of times, and no test cuts the power off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbapi2, "connect", _unsynced)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The module whose tests share one long run comes first: at the end, one process would wait for it alone."""
    items.sort(key=lambda item: item.path.name != "test_local_run.py")


@pytest.fixture(autouse=True)
def no_mlflow_left_behind() -> Iterator[None]:
    """MLflow sets this for its children: a test that leaves it there gives the next one its server."""
    yield
    assert os.environ.pop("MLFLOW_TRACKING_URI", None) is None


def race(count: int, work: Callable[[int], object]) -> None:
    """Run ``work(0)`` to ``work(count - 1)`` at the same time, each in its thread, to the end."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def there(found: T | None) -> T:
    """What was looked for, which is there."""
    assert found is not None
    return found


@pytest.fixture(scope="session")
def python() -> Iterator[str]:
    """A command for ``-m MODULE ...`` that has torch, transformers and trl loaded."""
    with forks.python(forks.HEAVY) as command:
        yield command


@pytest.fixture
def steps_that_are_loaded(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the test's take their steps from the server of the tests' own."""
    for name, value in forks.of_a_run(python).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def python_with_deepspeed() -> Iterator[str]:
    """The same with DeepSpeed, which takes the CPU."""
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    with forks.python((*forks.HEAVY, "deepspeed"), **forks.DEEPSPEED_ON_CPU) as command:
        yield command


@pytest.fixture(scope="session")
def meld_directory() -> Path:
    """MELD, where the machine has it."""
    base = os.environ.get("SELFEMO_DATA") or str(ROOT.parent / "shared" / "data")
    path = Path(base) / "meld"
    if not path.is_dir():
        pytest.skip("MELD is not here; set SELFEMO_DATA to the directory that holds meld/")
    return path


@pytest.fixture(scope="session")
def dialogues() -> list[Dialogue]:
    return load_corpus("sample", None, BadRows())


def _tiny(kind: str, directory: Path, dialogues: list[Dialogue]) -> Path:
    """A randomly initialised model with a byte-level BPE trained on the sample corpus: real, and fast."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = [f"{u.speaker}: {u.text}\n {', '.join(u.gold or ())}" for d in dialogues for u in d.turns]
    texts += [f" {label}\nReply: " for label in SPACES["meld"].labels] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=CHATML
    )
    torch.manual_seed(0)
    shape = dict(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(Qwen3Config(**shape)) if kind == "qwen3" else LlamaForCausalLM(LlamaConfig(**shape))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, dialogues: list[Dialogue]) -> Path:
    return _tiny("qwen3", tmp_path_factory.mktemp("tiny") / "qwen3", dialogues)


@pytest.fixture(scope="session", params=["qwen3", "llama"])
def tiny_of_each_kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dialogues: list[Dialogue]
) -> Path:
    return _tiny(request.param, tmp_path_factory.mktemp("tiny") / str(request.param), dialogues)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with its own real SeaweedFS and MLflow, stopped at the end."""
    path = tmp_path_factory.mktemp("workdir")
    try:
        yield path
    finally:
        services.stop(path)


SMALL = (
    "warmup.dialogues=12",
    "warmup.epochs=6",
    "warmup.learning_rate=0.005",
    "selfplay.episodes=4",
    "selfplay.corpus_dialogues=4",
    "selfplay.max_reply_tokens=16",
    "selfplay.candidates=3",
    "flywheel.tau_reward=0.05",
    "flywheel.tau_low=0.05",
    "flywheel.samples=4",
    "grpo.group=4",
    "grpo.save_steps=1",
    "grpo.learning_rate=0.001",
    "evaluation.replies=4",
    "evaluation.bootstrap=100",
    "evaluation.dialogues=8",
    "loop.rounds=2",
    # The tiny model has hardly a mind to lose.
    "guard.min_label_entropy=0",
    "guard.min_eligible=0",
    "guard.min_distinct_2=0",
    "guard.max_most_frequent=1",
    "policy.precision=float32",  # the same on every processor
)


def small_of(tiny: Path, workdir: Path) -> Config:
    """A whole run in seconds, on the servers of a working directory."""
    return configuration.load(None, [f"policy.base={tiny}", f"workdir={workdir}", *SMALL])


@pytest.fixture
def small(tiny: Path, workdir: Path) -> Config:
    """A whole run in seconds, on the real servers."""
    return small_of(tiny, workdir)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory: MLflow without a server puts artifacts there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database with nothing in it: making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file.read_bytes()


@pytest.fixture
def mlflow_file(elsewhere: Path, empty_mlflow: bytes) -> str:
    """Tracking URI of an MLflow of the test's own, in a file of the current directory."""
    file = elsewhere / "mlflow.db"
    file.write_bytes(empty_mlflow)
    return f"sqlite:///{file}"


def local_of(tiny: Path, place: Path, mlflow: str) -> Config:
    """A run without servers: its store is a directory, its MLflow a file."""
    uris = [f"store.root={(place / 'store').as_uri()}", f"mlflow.tracking_uri={mlflow}"]
    return configuration.load(None, [f"policy.base={tiny}", f"workdir={place / 'work'}", *SMALL, *uris])


@pytest.fixture
def small_local(tiny: Path, elsewhere: Path, mlflow_file: str) -> Config:
    """The same with a store in a directory and MLflow in a file: no servers."""
    return local_of(tiny, elsewhere, mlflow_file)
