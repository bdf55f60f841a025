"""The embedded study's material: a made-up world, its corpus, and three task families.

Nothing here needs a network. The families mirror those of the paper: arithmetic word problems,
multiple-choice common sense, and sentence classification.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lorasb.bundled import arithmetic, sentences, world
from lorasb.bundled.draw import Row, stable_hash
from lorasb.errors import UserError

FAMILIES: dict[str, Callable[[int, np.random.Generator, str], list[Row]]] = {
    "arithmetic": arithmetic.generate,
    "sentences": sentences.generate,
    "world": world.generate,
}


def split_rows(family: str, split: str, rows: int, seed: int) -> list[Row]:
    """`rows` rows of one split of a family, the same for the same arguments.

    A longer split begins with the shorter one's rows.

    Raises
    ------
    UserError
        If there is no such family or split, or the split has fewer different rows.
    """
    if family not in FAMILIES:
        raise UserError(f"no task family '{family}'; the families are {', '.join(FAMILIES)}")
    rng = np.random.default_rng(stable_hash(f"{seed}/{family}/{split}"))
    return FAMILIES[family](rows, rng, split)
