"""Seconds and peak memory of actions, beside the first of them, their floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
import torch

from lorasb.machine import peak_bytes

Action = Callable[[], object]
Prepare = Callable[[], Action]  # makes what an action needs, which is not timed
MEGABYTE = 1e6


def timed(actions: Mapping[str, Prepare], rounds: int, device: str) -> pd.DataFrame:
    """Seconds of each action (column) a round (row); the first round does not count.

    On the CPU they are those that the process computed, which other programs disturb least;
    elsewhere those that went by until the device had done its work.
    """
    now = time.process_time if device == "cpu" else _when_done
    seconds: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        seconds.append({})
        for name, prepare in actions.items():
            action = prepare()
            began = now()
            action()
            seconds[-1][name] = now() - began
    return pd.DataFrame(seconds[1:])


def summary(seconds: pd.DataFrame) -> pd.DataFrame:
    """Median of the seconds; median, least and largest of the ratios to the first column."""
    ratios = seconds.div(seconds.iloc[:, 0], axis=0)
    columns = {"seconds": seconds.median(), "ratio": ratios.median()}
    return pd.DataFrame(columns | {"least": ratios.min(), "largest": ratios.max()})


def peak_megabytes(make: Callable[[], Prepare], device: str) -> float:
    """Peak memory of a process of its own that makes an action and does it once.

    On the CPU that of the whole process, its libraries included. `make` is pickled.
    """
    # a fork has the libraries imported already, but a GPU's do not work in it
    context = get_context("fork" if device == "cpu" else "spawn")
    with ProcessPoolExecutor(1, context) as alone:
        return alone.submit(_peak, make).result() / MEGABYTE


def _peak(make: Callable[[], Prepare]) -> int:
    torch.set_num_threads(1)  # a fork lacks the others
    make()()()
    return peak_bytes()


def _when_done() -> float:
    torch.accelerator.synchronize()
    return time.perf_counter()
