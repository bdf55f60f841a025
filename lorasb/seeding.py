"""Named random generators: every draw of a cell comes from one, never from global state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, name: str) -> int:
    """A 63-bit seed that depends on the cell's `seed` and on what it is used for."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one purpose (`"data"`, `"head"`, `"adapter"`, ...) of one cell."""
    return torch.Generator().manual_seed(derive_seed(seed, name))


@contextmanager
def seeded(source: torch.Generator) -> Iterator[None]:
    """A global random state drawn from `source`, for what takes no generator; then as before."""
    seed = int(torch.randint(2**62, (), generator=source))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
