"""Seconds and peak memory of a stage."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def peak_bytes() -> int:
    """Peak bytes on the GPU, or of the whole process where there is none."""
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
