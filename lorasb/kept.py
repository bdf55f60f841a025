"""Facts that take seconds to find are kept on disk, so that reading a study stays quick."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lorasb.files import write_json

LIBRARIES = ("lorasb", "transformers", "peft")


def kept(name: str, key: Any, find: Callable[[], Any]) -> Any:
    """What `find` returned when it was last called under this key and these versions; plain JSON.

    Parameters
    ----------
    name
        Of the fact; begins the name of its file in `~/.cache/lorasb`.
    key
        What it depends on besides versions; plain JSON.
    """
    text = json.dumps([key, _versions()], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    path = folder / "lorasb" / f"{name}-{digest[:16]}.json"
    with suppress(OSError, ValueError):  # missing, or damaged: it is found again
        return json.loads(path.read_text(encoding="utf-8"))
    found = find()
    with suppress(OSError):  # a disk that cannot be written to makes the next call slow, no more
        write_json(path, found)
    return found


@cache
def _versions() -> list[str]:
    return [metadata.version(library) for library in LIBRARIES]
