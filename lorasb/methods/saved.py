"""What holds for every file of trained tensors that a method reads back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from lorasb.errors import UserError, remake

if TYPE_CHECKING:
    import torch


def load_saved(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a trained model or adapter.

    Raises
    ------
    UserError
        If the file is missing or damaged, a value is not finite, or all are zero.
    """
    from lorasb.files import load_tensors

    tensors = load_tensors(path)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path}: {name} is not finite; {remake(path.parent)}")
    if not any(tensor.any() for tensor in tensors.values()):
        raise UserError(f"{path}: it holds zeros alone, or nothing; {remake(path.parent)}")
    return tensors


def refuse_other_names(path: Path, found: Collection[str], wanted: Collection[str]) -> None:
    """Raise a UserError unless a file has exactly the tensors that are wanted."""
    for what, names in (
        ("lacks", set(wanted) - set(found)),
        ("should not have", set(found) - set(wanted)),
    ):
        if names:
            raise UserError(
                f"{path}: it {what} {len(names)} tensors, first '{min(names)}'; "
                f"{remake(path.parent)}"
            )
