"""A service whose commands are small: its children say what they are."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from lorasb.service import serve

IMPORTED = "colorsys"  # a small module that nothing imports by itself


def run(argv: Sequence[str]) -> None:
    """`status N`: exit with N. `say`: write what it sees. `wait FILE`: write its number, wait."""
    command, *rest = argv
    if command == "status":
        sys.exit(int(rest[0]))
    elif command == "say":
        seen = {"folder": str(Path.cwd()), "own": os.environ.get("LORASB_GPU"), "argv": rest}
        seen["imported"] = IMPORTED in sys.modules
        seen["frozen"] = gc.get_freeze_count() > 0
        sys.stdout.write(json.dumps(seen))
        sys.stderr.write("to stderr")
    elif command == "raise":
        raise ValueError("of the command")
    else:
        try:
            Path(rest[0]).write_text(str(os.getpid()))
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(7)


if __name__ == "__main__":
    serve(run, prepare=lambda: import_module(IMPORTED))
