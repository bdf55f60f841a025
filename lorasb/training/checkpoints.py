"""What a run can go on from: whole checkpoints, and what is kept beside them along training."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lorasb.errors import UserError
from lorasb.files import read_json, write_json
from lorasb.methods.hooks import StepHook
from lorasb.records import as_written, first_damaged
from lorasb.training.run import MARKER

HOOKS = "hooks.safetensors"  # in a checkpoint: the state of the method's hooks
KEPT = "kept.json"  # hashes of what is kept beside the checkpoints


def save_hooks(checkpoint: Path, hooks: Sequence[StepHook]) -> None:
    """Write what a method's hooks need to go on, if they need anything."""
    tensors = {
        f"{number}/{name}": value.contiguous()
        for number, hook in enumerate(hooks)
        for name, value in hook.state().items()
    }
    if tensors:
        save_file(tensors, checkpoint / HOOKS)


def restore_hooks(checkpoint: Path, hooks: Sequence[StepHook], device: torch.device) -> None:
    """Give a method's hooks back what `save_hooks` wrote."""
    path = checkpoint / HOOKS
    tensors = load_file(path, device=str(device)) if path.exists() else {}
    for number, hook in enumerate(hooks):
        prefix = f"{number}/"
        hook.restore(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )


def note_kept(path: Path) -> None:
    """Take down the hash of a file that was just written beside the checkpoints."""
    notes = path.parent / KEPT
    write_json(notes, _read(notes) | as_written(path.parent, [path]))


def mark_complete(checkpoint: Path, seconds: float) -> None:
    """Write the marker of a checkpoint: its files, all that is kept by now, seconds of training."""
    kept = _read(checkpoint.parent / KEPT)
    files = as_written(checkpoint, [checkpoint])
    write_json(checkpoint / MARKER, {"seconds": seconds, "files": files, "kept": sorted(kept)})


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of which all that was kept before it is whole too.

    Others are removed, in silence if a kill cut them short, with a line on stderr if they are
    damaged; so is whatever is kept and damaged.
    """
    kept = _whole_kept(folder)
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in by_step:
        if not (path / MARKER).exists():
            shutil.rmtree(path)
    for path in filter(Path.exists, by_step):
        fault = _fault(path, kept)
        if fault is None:
            return path
        _say(f"{path}: not continued, {fault}")
        shutil.rmtree(path)
    return None


def _whole_kept(folder: Path) -> set[str]:
    """Names of what is kept beside the checkpoints and is as it was written."""
    notes = _read(folder / KEPT)
    whole = {name for name, facts in notes.items() if not first_damaged(folder, {name: facts})}
    for path in folder.glob("*"):
        if path.is_file() and path.name not in {*whole, KEPT}:
            path.unlink()
            if not path.name.startswith("."):  # of a write that was killed
                _say(f"{path}: damaged, made again")
    write_json(folder / KEPT, {name: notes[name] for name in sorted(whole)})
    return whole


def _fault(checkpoint: Path, kept: set[str]) -> str | None:
    """What a checkpoint lacks; None if nothing."""
    marker = _read(checkpoint / MARKER)
    if marker.keys() != {"seconds", "files", "kept"}:
        return f"its {MARKER} is damaged"
    damaged = first_damaged(checkpoint, marker["files"])
    if damaged:
        return f"its {damaged} is damaged"
    lost = set(marker["kept"]) - kept
    return f"{min(lost)} is damaged" if lost else None


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the file is missing or damaged."""
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _say(line: str) -> None:
    sys.stderr.write(f"training: {line}\n")
