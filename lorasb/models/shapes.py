"""Shapes of the weights that adapters change; needs no torch."""

from __future__ import annotations


class LayerShapes(dict[str, tuple[int, int]]):
    """Shapes (out, in) of adapted weights, by name; `norms`: numbers of all norms beside them."""

    norms: int = 0
