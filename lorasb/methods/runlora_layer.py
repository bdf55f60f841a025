"""RunLoRA's layer: y = x W^T + s x A^T B^T with its products in the cheapest order.

For b tokens, W (m, n), A (r, n), B (m, r), a multiplication with its addition counted as 2:

| pass     | apart                     | merged, with W + s B A       |
|----------|---------------------------|------------------------------|
| forward  | 2 b (n m + n r + m r)     | 2 n m (r + b)                |
| backward | 2 b (n m + 3 n r + 2 m r) | 2 b (n m + 2 n r + 2 m r) + 2 n m r |

Merged is cheaper above b = n m / (n + m) tokens forward and b = m backward. The authors' other six
backward orders multiply x^T by the whole gradient of y and lose wherever r is small. x alone is
kept for backward; x A^T is computed again. For so few tokens that nothing is merged PEFT's own
passes, which keep it, are the fastest.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable

from lorasb.methods.method import Network
from lorasb.methods.peft.moved_start import ADAPTER, lora_layers


def forward_operations(b: int, m: int, n: int, r: int, *, merged: bool) -> int:
    """As in the table."""
    return 2 * n * m * (r + b) if merged else 2 * b * (n * m + n * r + m * r)


def backward_operations(b: int, m: int, n: int, r: int, *, merged: bool) -> int:
    """As in the table, for the gradients of x, A and B."""
    low = 2 * n * r + 2 * m * r
    return 2 * b * (n * m + low) + 2 * n * m * r if merged else 2 * b * (n * m + low + n * r)


def merges(b: int, m: int, n: int, r: int) -> tuple[bool, bool]:
    """Whether the forward and the backward pass take fewer operations with the merged weight."""
    return (
        forward_operations(b, m, n, r, merged=True) < forward_operations(b, m, n, r, merged=False),
        backward_operations(b, m, n, r, merged=True)
        < backward_operations(b, m, n, r, merged=False),
    )


class LowRankProduct(torch.autograd.Function):
    """x W^T + s x A^T B^T for x (b, n); W is frozen."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them on in their order
        ctx: Any, x: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float, merged: tuple[bool, bool]
    ) -> Tensor:
        """`merged`: whether each pass takes the merged weight."""
        ctx.save_for_backward(x, W, A, B)
        ctx.s, ctx.merged = s, merged[1]
        if merged[0]:
            return x @ torch.addmm(W, B, A, alpha=s).T
        return torch.addmm(x @ W.T, x @ A.T, B.T, alpha=s)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of x, A and B."""
        (g,) = gradients
        x, W, A, B = ctx.saved_tensors
        inner = ctx.s * (g @ B)
        of_A, of_B = inner.T @ x, ctx.s * (g.T @ (x @ A.T))
        of_x = None
        if ctx.needs_input_grad[0]:
            if ctx.merged:
                of_x = g @ torch.addmm(W, B, A, alpha=ctx.s)
            else:
                of_x = torch.addmm(g @ W, inner, A)
        return of_x, None, of_A, of_B, None, None


class ChoosingLinear(Linear):  # type: ignore[misc]
    """PEFT's layer; where all is of one dtype and a merged weight pays, with the products above."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As PEFT's."""
        # the shape first: in short passes it decides alone, and they are the ones that would notice
        tokens = x.numel() // self.in_features
        merged = merges(tokens, self.out_features, self.in_features, self.r[ADAPTER])
        if not any(merged) or args or kwargs or not self._plain(x):
            y: Tensor = super().forward(x, *args, **kwargs)
            return y
        base, A, B = self.base_layer, self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        W = base.weight.T if self.fan_in_fan_out else base.weight
        given = x.reshape(-1, x.shape[-1]), W, A, B, self.scaling[ADAPTER], merged
        product: Tensor = LowRankProduct.apply(*given)  # type: ignore[no-untyped-call]
        y = product.view(*x.shape[:-1], -1)
        return y if base.bias is None else y + base.bias

    def _plain(self, x: Tensor) -> bool:
        """Whether the adapter acts, without a cast."""
        A, B = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        off = self.disable_adapters or self.merged
        return not off and nothing_cast(x, self.base_layer.weight, A, B)


def nothing_cast(x: Tensor, *weights: Tensor) -> bool:
    """Whether a product of all is one of their own dtype, also under autocast."""
    one_dtype = {weight.dtype for weight in weights} == {x.dtype}
    return one_dtype and not torch.is_autocast_enabled(x.device.type)


def choose_products(model: Network) -> Network:
    """The model, its LoRA layers of linear weights with such a forward pass."""
    for layer in lora_layers(model).values():
        if type(layer) is Linear:
            # PEFT has no hook for the class of this layer
            layer.__class__ = ChoosingLinear
    return model
