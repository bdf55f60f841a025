"""The order in which training rows are seen: fixed by a generator before training starts.

All methods of one seed see the same batches, and a continued run sees those that are left.
"""

from __future__ import annotations

import torch

from lorasb.errors import UserError

# steps whose rows are sorted by length together; larger means less padding and less mixing
CHUNK = 10


def batch_order(
    lengths: list[int],
    steps: int,
    rows: int,
    generator: torch.Generator,
    *,
    group_by_length: bool,
) -> list[int]:
    """Row numbers of all steps, one after another: `steps * rows` of them, `rows` a step.

    Rows come in passes, each a fresh permutation. With `group_by_length`, rows are sorted by length
    within chunks of `CHUNK` steps and the steps of a chunk are shuffled. In how many backward
    passes a step is made changes nothing.

    Raises
    ------
    UserError
        If there is no row.
    """
    if not lengths:
        raise UserError("no training row; nothing to train on")
    total = steps * rows
    stream: list[int] = []
    while len(stream) < total:
        stream += torch.randperm(len(lengths), generator=generator).tolist()
    stream = stream[:total]
    if not group_by_length:
        return stream
    order: list[int] = []
    for start in range(0, total, CHUNK * rows):
        chunk = sorted(stream[start : start + CHUNK * rows], key=lengths.__getitem__)
        pieces = [chunk[i : i + rows] for i in range(0, len(chunk), rows)]
        for piece in torch.randperm(len(pieces), generator=generator).tolist():
            order += pieces[piece]
    return order
