"""Verb `bench`."""

from __future__ import annotations

import sys
from functools import partial

import torch

from lorasb.bench.actions import MODELS, STARTS, Setup, kept_megabytes, start, step
from lorasb.bench.jobs import by_rule, jobs_of
from lorasb.bench.measure import peak_megabytes, summary, timed
from lorasb.errors import UserError, one_line

KINDS = {"start": (start, list(STARTS)), "step": (step, list(MODELS))}
KNOWN = (*KINDS, "run")
DTYPES = ("bfloat16", "float16", "float32")


def bench(
    kind: str,
    /,
    *,
    rank: int = 32,
    hidden: int = 512,
    layers: int = 4,
    samples: int = 8,
    tokens: int = 128,
    dtype: str = "float32",
    device: str = "cpu",
    rounds: int = 5,
    threads: int = 1,
    results: str = "quickstart",
) -> None:
    """Measure what people wait for beside its floor and PEFT, and print a table.

    `step` is a training step with a frozen base as floor, `start` what comes before the first step
    with a forward and backward pass over the same samples as floor. All are measured in one
    process on a random Llama, in interleaved rounds: the median of the seconds, and of the ratios
    to the floor's in the same round the median, the least and the largest; the peak memory of a
    process of its own; and what a step keeps for its backward pass. `run` says where the seconds
    of the jobs of the study `results` went.
    """
    if kind not in KNOWN:
        raise UserError(f"bench '{kind}': unknown; known: {', '.join(KNOWN)}")
    if kind == "run":
        _print_jobs(results)
        return
    setup = Setup(rank, hidden, layers, samples, tokens, dtype, device)
    _check(setup, rounds)
    import peft  # once, for the processes that are forked

    make, names = KINDS[kind]
    peaks = [peak_megabytes(partial(make, setup, name), device) for name in names]
    seconds = timed({name: make(setup, name) for name in names}, rounds, device)
    table = summary(seconds).assign(peak_mb=peaks)
    if kind == "step":
        table["kept_mb"] = [kept_megabytes(setup, name) for name in names]
    sys.stdout.write(f"{table.to_string(float_format='%.3f')}\n")
    sys.stdout.write(
        f"torch {torch.__version__}, peft {peft.__version__}, {dtype} on {device}, "
        f"CPU threads: {threads}, rank {rank}\n"
    )


def _print_jobs(study: str) -> None:
    jobs = jobs_of(study)
    inside, gone = (jobs["ended"] - jobs["began"]).sum(), jobs["ended"].max() - jobs["began"].min()
    sys.stdout.write(f"{by_rule(jobs).to_string(float_format='%.3f')}\n")
    sys.stdout.write(f"{len(jobs)} jobs, {inside:.0f} s in them, {gone:.0f} s from first to last\n")


def _check(setup: Setup, rounds: int) -> None:
    for name, value in (vars(setup) | {"rounds": rounds}).items():
        if isinstance(value, int) and value < 1:
            raise UserError(f"{name} {value}: at least 1 is needed")
    if setup.rank > setup.hidden:
        raise UserError(f"rank {setup.rank}: at most the hidden size, {setup.hidden}")
    if setup.dtype not in DTYPES:
        raise UserError(f"dtype '{setup.dtype}': unknown; known: {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=setup.device)
    except (AssertionError, RuntimeError) as error:  # the first where torch was built without it
        raise UserError(f"device '{setup.device}': {one_line(error)}") from error
