"""What tests put into the processes that training starts; on their PYTHONPATH only, switched by environment.

DeepSpeed is tested on the CPU over gloo, which accelerate does not offer: it takes "no accelerator" for "one
process". DeepSpeed would compile a shared-memory extension there first, for a minute, in every rank of every fresh
machine: only its inference uses it, so it goes without. And a rank can be told to die,
at once or when checkpoints are in the store: this process itself, or each that is forked off it. And a run's steps can
be forks of a server that is there already, where each run would import everything again for fifteen seconds.
"""

import os
import signal
import sys
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

if os.environ.get("SELFEMO_TEST_DEEPSPEED_ON_CPU"):
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    _plain = PartialState._prepare_backend

    def _gloo(self: Any, cpu: bool = False, sagemaker_dp: bool = False, backend: str | None = None) -> Any:
        found, kind = _plain(self, cpu, sagemaker_dp, backend)
        if kind == DistributedType.NO and "LOCAL_RANK" in os.environ:
            return "gloo", DistributedType.MULTI_CPU
        return found, kind

    PartialState._prepare_backend = _gloo

    _comm: Any = import_module("deepspeed.comm.torch")  # the package's attribute "torch" is torch itself
    _comm.build_shm_op = lambda: None

if os.environ.get("SELFEMO_TEST_DIE") or "SELFEMO_TEST_FORKS" in os.environ:
    from selfemo.training.common import Recorder

    _begin = Recorder.on_step_begin

    def _die(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        flag = Path(os.environ.get("SELFEMO_TEST_DIE") or "/")
        if os.environ.get("RANK") == "1" and state.global_step == 1 and not flag.exists():
            wait_for = os.environ.get("SELFEMO_TEST_DIE_AFTER", "")  # manifests of both machines' first checkpoint
            while wait_for and len(list(Path(wait_for).rglob("checkpoint-1/part-*/manifest.json"))) < 2:
                time.sleep(0.1)
            flag.touch()
            print("this rank was told to die", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return _begin(self, args, state, control, **rest)

    Recorder.on_step_begin = _die

if "SELFEMO_TEST_STEPS" in os.environ and "pipelines.local" in sys.orig_argv:
    _server: Any = import_module("selfemo.local.forkserver")
    _there = Path(os.environ["SELFEMO_TEST_STEPS"])
    _server.python3 = lambda modules: nullcontext(_there)
