"""What a user can mend, and how the command line says it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_RIGHTS = "change the permissions, or work in a folder of your own"
_ROOM = "make room, then give the same command again"
_IN_THE_WAY = "move away what is there"
_ADVICE = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size, `ulimit -f`",
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.ENAMETOOLONG: "work in a folder with a shorter path",
}


class UserError(ValueError):
    """Bad input. Its message is one line: what is wrong, where, and what would be right.

    The command line prints the message without a traceback and exits with status 1. Callers of PEFT
    catch it as the ValueError that PEFT's own methods raise.
    """


def refusal(error: OSError) -> str | None:
    """One line for what the system refused: the file, why, what helps.

    None where the error does not come from the system, or names neither a file nor a cause with a
    known remedy: then it may be a fault of the code.
    """
    number, path = error.errno, error.filename
    advice = _ADVICE.get(number or 0)
    if number is None or (path is None and advice is None):
        return None
    if number == errno.ENOTDIR and path is not None:  # the system names what lies below the file
        path = next((parent for parent in Path(path).parents if parent.is_file()), path)
    said = os.strerror(number).lower()
    line = said if path is None else f"{path}: {said}"
    return f"{line}; {advice}" if advice else line


def one_line(error: BaseException) -> str:
    """What an error of a library says, without its line breaks."""
    return " ".join(str(error).split())


def remake(path: Path | str) -> str:
    """What to do about a damaged file: the command that makes it, and all that follows, again."""
    root, *parts = Path(path).parts or ("",)
    if root != "results" or not parts:
        return "make it again"
    return f"make it again: `snakemake --cores all --forcerun {path} --config study={parts[0]}`"
