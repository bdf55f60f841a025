"""The order in which training rows are seen: fixed by a generator before training starts.

All methods of one seed see the same batches, and a continued run sees those that are left.
"""

from __future__ import annotations

import torch

# batches that are sorted by length together; larger means less padding and less mixing
CHUNK = 10


def batch_order(
    lengths: list[int],
    batches: int,
    batch_size: int,
    generator: torch.Generator,
    *,
    group_by_length: bool,
) -> list[int]:
    """Row numbers of all batches, one after another: `batches * batch_size` of them.

    Rows come in passes, each a fresh permutation. With `group_by_length`, rows are sorted by length
    within chunks of `CHUNK` batches and the batches of a chunk are shuffled.
    """
    total = batches * batch_size
    stream: list[int] = []
    while len(stream) < total:
        stream += torch.randperm(len(lengths), generator=generator).tolist()
    stream = stream[:total]
    if not group_by_length:
        return stream
    order: list[int] = []
    for start in range(0, total, CHUNK * batch_size):
        chunk = sorted(stream[start : start + CHUNK * batch_size], key=lengths.__getitem__)
        pieces = [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
        for piece in torch.randperm(len(pieces), generator=generator).tolist():
            order += pieces[piece]
    return order
