r"""Whether two answers in LaTeX mean the same, by the library math-verify.

The library parses LaTeX (never Python) and compares with SymPy. Some answers take it forever or all
memory, and its own time limit cannot stop a computation inside C. So it runs in a worker process,
ended by the system at `CPU_SECONDS` or `MEMORY_BYTES` of one comparison; that comparison counts as
wrong, and a new worker goes on. CPU time is limited, so that a busy machine does not change
verdicts. A worker that has no room to begin with, or that anything else ends, is an error.

Guards for what the library gets wrong: the base of a number (it takes 101_2 for 101), factors of
100 (50 % equals 0.5), letters of words in any order (it multiplies them), malformed LaTeX.
docs/tasks.md lists what is left.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from lorasb.errors import UserError
from lorasb.tasks.answers.latex import TEXT, normal_form, without_marks

if TYPE_CHECKING:
    from lorasb.tasks.answers import Pairs

CPU_SECONDS = 5
# of address space, beyond what the process has when a comparison begins; most of it never touched
MEMORY_BYTES = 4 * 2**30
WORKER = Path(__file__).with_name("math_worker.py")
# how the limits end a process: CPU time, and memory where C code asks for it
LIMITED = {-signal.SIGPROF, -signal.SIGABRT, -signal.SIGSEGV}

BASE = re.compile(r"[0-9A-Za-z]_\{?([0-9]+)\}?$")
WORD = re.compile(r"[A-Za-z][A-Za-z .-]*[A-Za-z]")


def math_verify(pairs: Pairs) -> list[bool]:
    """Right where the normal forms are the same, or the library says that both mean the same.

    Each distinct pair is compared once. Writes to stderr how many comparisons were stopped.

    Raises
    ------
    UserError
        If the library's process does not start, or is ended by something else than its limits.
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
    verdicts: list[bool | None] = []
    while len(verdicts) < len(pairs):
        with _Worker() as worker:
            verdicts += worker.verdicts(pairs[len(verdicts) :])
    stopped = verdicts.count(None)
    if stopped:
        sys.stderr.write(
            f"math-verify: {stopped} of {len(pairs)} comparisons reached {CPU_SECONDS} CPU seconds "
            "or the memory limit and count as wrong\n"
        )
    return [verdict is True for verdict in verdicts]


class _Worker:
    """The process that compares, until a limit or the `with` block ends it.

    It is a script of its own: `multiprocessing` would run the caller's main module in it again.

    Raises
    ------
    UserError
        If it does not start, or is ended by anything but its limits: there is no verdict then.
    """

    def __init__(self) -> None:
        # a pipe might fill, since nobody reads it before the end
        self._errors = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = Popen(
            [sys.executable, "-P", str(WORKER), str(MEMORY_BYTES)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        if not self._read():
            raise self._error("did not start")

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def verdicts(self, pairs: Pairs) -> Iterator[bool | None]:
        """Those of the library, None for one that came to a limit; the last may end the process."""
        for found, gold in pairs:
            line = self._ask([without_marks(found), without_marks(gold), CPU_SECONDS])
            if not line and self._process.wait() not in LIMITED:
                raise self._error(f"was ended when it compared {found!r} with {gold!r}")
            yield json.loads(line) if line else None
            if not line:
                return

    def _ask(self, question: list[Any]) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._read()

    def _read(self) -> str:
        """A line of the process; an empty one where it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _error(self, what: str) -> UserError:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()[-1:] or [f"status {status}"]
        return UserError(
            f"math-verify: its process {what}: {said[0]}; nothing was scored, it needs "
            f"{MEMORY_BYTES >> 30} GiB of address space beyond its own (ulimit -v)"
        )
