r"""Whether two answers in LaTeX mean the same, by the library math-verify.

The library parses LaTeX (never Python) and compares with SymPy. Some answers take it forever or all
memory, and its own time limit cannot stop a computation inside C. So it runs in a worker process,
ended by the system at `CPU_SECONDS` of one comparison or `MEMORY_BYTES`; that comparison counts as
wrong, and a new worker goes on. CPU time is limited, so that a busy machine does not change
verdicts.

Guards for what the library gets wrong: the base of a number (it takes 101_2 for 101), factors of
100 (50 % equals 0.5), letters of words in any order (it multiplies them), malformed LaTeX.
docs/tasks.md lists what is left.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from lorasb.tasks.answers.latex import TEXT, normal_form, without_marks

if TYPE_CHECKING:
    from lorasb.tasks.answers import Pairs

CPU_SECONDS = 5
MEMORY_BYTES = 4 * 2**30  # of address space, most of it never touched

BASE = re.compile(r"[0-9A-Za-z]_\{?([0-9]+)\}?$")
WORD = re.compile(r"[A-Za-z][A-Za-z .-]*[A-Za-z]")


def math_verify(pairs: Pairs) -> list[bool]:
    """Right where the normal forms are the same, or the library says that both mean the same.

    Each distinct pair is compared once. Writes to stderr how many comparisons were stopped.
    """
    verdicts = {pair: _quick(*pair) for pair in pairs}
    unsure = [pair for pair, verdict in verdicts.items() if verdict is None]
    verdicts.update(zip(unsure, _compare(unsure), strict=True))
    return [bool(verdicts[pair]) for pair in pairs]


def _quick(found: str, gold: str) -> bool | None:
    """The verdict where no mathematics is needed; None where it is."""
    forms = normal_form(found), normal_form(gold)
    if None in forms or forms[0] == forms[1]:
        return forms[0] is not None and forms[0] == forms[1]
    words = [TEXT.sub(r"\1", without_marks(text)).strip() for text in (found, gold)]
    if any(WORD.fullmatch(word) for word in words):
        return words[0].lower() == words[1].lower()
    bases = [BASE.search(without_marks(text)) for text in (found, gold)]
    if bases[0] and bases[1] and bases[0][1] != bases[1][1]:
        return False
    return None


def _compare(pairs: Pairs) -> list[bool]:
    """The library's verdicts; False for what it could not do within its limits."""
    verdicts: list[bool] = []
    stopped = 0
    worker: ProcessPoolExecutor | None = None
    for found, gold in pairs:
        worker = worker or _worker()
        texts = without_marks(found), without_marks(gold)
        try:
            verdicts.append(worker.submit(_same, *texts, CPU_SECONDS).result())
        except BrokenProcessPool:
            worker.shutdown()
            worker = None
            verdicts.append(False)
            stopped += 1
    if worker:
        worker.shutdown()
    if stopped:
        sys.stderr.write(
            f"math-verify: {stopped} of {len(pairs)} comparisons reached {CPU_SECONDS} CPU seconds "
            "or the memory limit and count as wrong\n"
        )
    return verdicts


def _worker() -> ProcessPoolExecutor:
    # a fresh interpreter: nothing of torch's threads is inherited
    context = multiprocessing.get_context("spawn")
    worker = ProcessPoolExecutor(
        1, mp_context=context, initializer=_start, initargs=(MEMORY_BYTES,)
    )
    # one that cannot even start is an error here, and no verdict on an answer
    worker.submit(int).result()
    return worker


def _start(memory_bytes: int) -> None:
    """In the worker: load the library, then limit memory."""
    import logging
    import resource

    import math_verify  # noqa: F401

    logging.disable(logging.CRITICAL)
    if sys.platform == "linux":
        # other systems refuse this limit or ignore it
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _same(found: str, gold: str, cpu_seconds: int) -> bool:
    """In the worker: one comparison. The system's own action on SIGPROF ends the process."""
    import signal

    from math_verify import LatexExtractionConfig, parse, verify

    # only the whole text as LaTeX: the library's other readers search it, or evaluate Python
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    try:
        sides = [
            parse(
                f"\\boxed{{{text}}}",
                config,
                fallback_mode="no_fallback",
                extraction_mode="first_match",
                parsing_timeout=0,
            )
            for text in (gold, found)
        ]
        return bool(verify(*sides, timeout_seconds=0))
    except (MemoryError, RecursionError):
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
