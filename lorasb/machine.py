"""The machine: a GPU of one's own, and the seconds and peak memory of a block."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lorasb.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
# set by the workflow where a profile or --resources gives GPUs to jobs
WANTED = "LORASB_GPU"
_held: list[IO[str]] = []  # an open file holds its lock until the process ends


def claim_gpu() -> None:
    """Make one GPU that no other process of this suite has the only visible one.

    Call it before anything is put on a GPU. It waits where all are taken, and does nothing where
    fewer than two are visible. Schedulers of clusters show a job its own GPUs in
    `CUDA_VISIBLE_DEVICES`, of which one is taken.

    Raises
    ------
    UserError
        If the workflow gives GPUs to its jobs and torch has none.
    """
    _refuse_cpu()
    names = _visible()
    if len(names) < 2:
        return
    locks = {name: _lock_file(name) for name in names}
    for name, lock in locks.items():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        _take(name, lock)
        return
    sys.stderr.write(f"all GPUs ({', '.join(names)}) are taken; waiting for {names[0]}\n")
    fcntl.flock(locks[names[0]], fcntl.LOCK_EX)
    _take(names[0], locks[names[0]])


def _refuse_cpu() -> None:
    import torch

    if os.environ.get(WANTED) and not torch.cuda.device_count():
        raise UserError(
            f"a profile or --resources gives this job a GPU, and torch {torch.__version__} finds "
            "none; install torch with CUDA and look at nvidia-smi, or start snakemake without "
            "GPUs, to run on the CPU"
        )


def _visible() -> list[str]:
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _lock_file(name: str) -> IO[str]:
    path = Path(tempfile.gettempdir()) / f"lorasb-{os.getuid()}-gpu-{name}.lock"
    return path.open("w")


def _take(name: str, lock: IO[str]) -> None:
    _held.append(lock)
    os.environ[VISIBLE] = name


def peak_bytes() -> int:
    """Peak bytes on the GPU, or of the whole process where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Seconds and peak bytes of the block, filled in when it ends."""
    cost: dict[str, float] = {}
    started = time.perf_counter()
    yield cost
    cost["seconds"] = time.perf_counter() - started
    cost["peak_memory_bytes"] = peak_bytes()
