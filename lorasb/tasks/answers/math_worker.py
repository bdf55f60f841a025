"""Compares answers with math-verify, in the process that `verify.py` starts: a script of its own.

A line of JSON in, found, gold and the CPU seconds they may take; a line out, true or false, or null
where memory ran out. The first line out says that the library is there.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path


def main(room: int) -> None:
    """Answer each line of standard input, with `room` bytes of memory for each comparison."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # nothing that the library prints is an answer
        import math_verify  # noqa: F401

        logging.disable(logging.CRITICAL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
        limit(room)
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            limit(room)
            print(json.dumps(same(*json.loads(line))), file=answers, flush=True)


def limit(room: int) -> None:
    """Let the process grow by so many bytes of address space from here.

    Raises
    ------
    ValueError
        If the system grants it less.
    """
    if sys.platform == "linux":
        # other systems refuse this limit or ignore it
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (bound, resource.getrlimit(resource.RLIMIT_AS)[1]))


def same(found: str, gold: str, seconds: int) -> bool | None:
    """One comparison. The system's own action on SIGPROF ends the process."""
    from math_verify import LatexExtractionConfig, parse, verify

    # only the whole text as LaTeX: the library's other readers search it, or evaluate Python
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
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
        return bool(verify(*sides, timeout_seconds=0, raise_on_error=True))
    except MemoryError:
        return None
    except Exception:  # noqa: BLE001 - what the library cannot compare it does not call the same
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
