"""GeLoRA (arXiv 2412.09250): LoRA whose rank grows where states gain intrinsic dimension."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.errors import UserError
from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor
    from transformers import PreTrainedModel

# of the largest ratios, which are noise (Facco et al., doi 10.1038/s41598-017-11873-y)
DISCARDED = 0.1


class GeLoRA(PeftMethod):
    """LoRA of rank r_i in block i; r_i - 1 is in proportion to max(round(d_{i+1} - d_i), 0).

    d_i is the intrinsic dimension (TwoNN) of the mean states that enter block i. The paper's r_i
    are these numbers plus 1; here the sum of all is the cell's rank times the blocks, so that the
    budget is known before there are data, and that of LoRA. s = alpha / r is the same in all.

    Arguments: `options` of PEFT's `LoraConfig`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"activations"})
    keys: ClassVar = {"options": {"type": "object"}}

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA with a rank for each block."""
        import peft

        from lorasb.models.layers import target_shapes
        from lorasb.start.activations import load_activations

        states = load_activations(context.inputs["activations"]).states
        dimensions = [intrinsic_dimension(state) for state in states]
        config: LoraConfig = self.peft_config(context)
        blocks = blocks_of(target_shapes(model, config), len(states) - 1)
        gains = [max(round(dimensions[i + 1] - dimensions[i]), 0) for i in blocks]
        for block, rank in zip(blocks.values(), ranks(gains, context.rank), strict=True):
            for name in block:
                config.rank_pattern[name] = rank
                config.alpha_pattern[name] = config.lora_alpha * rank / config.r
        return peft.get_peft_model(model, config)


def intrinsic_dimension(points: Tensor) -> float:
    """TwoNN of points (N, n): slope of -log(1 - F(mu)) over log mu, through the origin.

    mu is the ratio of the distances to a point's second and first neighbour, F its empirical
    distribution; points that have a twin are left out. scikit-dimension has the same numbers, and
    brings 200 MB of compilers for these lines.

    Raises
    ------
    UserError
        If fewer than ten points are left.
    """
    import torch

    points = points.double()
    near = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    near = near.topk(3, largest=False).values
    mu = (near[:, 2] / near[:, 1])[near[:, 1] > 0].sort().values
    if len(mu) < 10:
        raise UserError(f"intrinsic dimension: {len(mu)} states differ; ask for more samples")
    kept = int(len(mu) * (1 - DISCARDED))
    x = mu[:kept].log()
    y = -torch.log1p(-torch.arange(1, kept + 1) / len(mu))
    return float((x @ y.to(x)) / (x @ x))


def blocks_of(shapes: Mapping[str, tuple[int, int]], number: int) -> dict[int, list[str]]:
    """The adapted layers by the number of their block, which is the first in their names.

    Raises
    ------
    UserError
        If a layer is in none of so many blocks, or if LoRA trains more in one than in another.
    """
    blocks: dict[int, list[str]] = {}
    for name in shapes:
        found = re.search(r"\.(\d+)\.", name)
        if not found or int(found[1]) >= number:
            raise UserError(f"{name}: in none of the model's {number} blocks, which share a budget")
        blocks.setdefault(int(found[1]), []).append(name)
    if len({sum(sum(shapes[name]) for name in block) for block in blocks.values()}) > 1:
        raise UserError("the adapted weights of the blocks differ in size; they share a budget")
    return dict(sorted(blocks.items()))


def ranks(gains: Sequence[int], rank: int) -> list[int]:
    """A rank of at least 1 for each block: 1 + its share, `rank` times the blocks in all.

    Shares are in proportion to the gains, equal if there are none; rests go to the largest ones.
    """
    total = (rank - 1) * len(gains)
    parts = gains if any(gains) else [1] * len(gains)
    exact = [total * part / sum(parts) for part in parts]
    found = [int(share) for share in exact]
    by_rest = sorted(range(len(gains)), key=lambda i: (found[i] - exact[i], i))
    for i in by_rest[: total - sum(found)]:
        found[i] += 1
    return [1 + share for share in found]


METHOD = GeLoRA
