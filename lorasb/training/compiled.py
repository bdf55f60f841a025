"""A model's blocks, compiled by torch while it is trained: its many small operations become few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils.other import is_repeated_blocks
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from lorasb.errors import UserError


@contextmanager
def compiled_blocks(model: nn.Module) -> Iterator[None]:
    """Compile the blocks of lists of one kind, for batches of any length, until the end.

    What one block is compiled to serves the others, while the model caches no keys and values.

    Raises
    ------
    UserError
        If the model has no such list, or torch cannot compile on this machine.
    """
    lists = [module for module in model.modules() if is_repeated_blocks(module)]
    blocks = [block for found in lists for block in found.children()]
    if not blocks:
        raise UserError(
            f"training.compile: {type(model).__name__} has no list of blocks of one kind, "
            "which is what is compiled; false would be right"
        )
    for block in blocks:
        block.compile(dynamic=True)
    try:
        yield
    except BackendCompilerFailed as error:
        raise UserError(
            f"training.compile: torch cannot compile here ({str(error).splitlines()[0]}); "
            "install a C++ compiler, or set it to false"
        ) from error
    finally:
        for block in blocks:
            block._compiled_call_impl = None
