"""RunLoRA (arXiv 2312.03415) for LoRA-XS's layer: the order with the fewest operations.

y = x W^T + s x A^T R^T B^T, where R alone is trained.
For b tokens, W (m, n), A (r, n), R (r, r), B (m, r), a multiplication with its addition counted as
2 and k = min(m, n); forward keeps x A^T for the gradient of R, and of B and A there is none:

| order  | forward                            | backward, of x and R               |
|--------|------------------------------------|------------------------------------|
| apart  | 2 b (n m + n r + r^2 + m r)        | 2 b (n m + m r + 2 r^2 + n r)      |
| folded | 2 b (n m + n r + m r) + 2 m r^2    | 2 b (n m + m r + r^2 + n r) + 2 n r^2 |
| merged | 2 b (n m + n r) + 2 r (m n + k r)  | 2 b (n m + m r + r^2) + 2 r (m n + k r) |

Apart is LoRA-XS's own order. Folded has B R, or R A, as one matrix, merged W + s B R A. Where
nothing is learnt, merged needs no x A^T. Of a square weight both passes merge above b = n tokens.
For 1024 to 4096 tokens, weights of 384 to 1536 and r from 16 to 96 a layer's two passes take 0.81
to 0.96 of the CPU seconds that they take apart.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from lorasb.methods.method import Network
from lorasb.methods.runlora_layer import nothing_cast
from lorasb.tuner.layer import LoraXSLinear

ADAPTER = "default"
Order = Literal["apart", "folded", "merged"]
ORDERS: tuple[Order, ...] = get_args(Order)


def forward_operations(b: int, m: int, n: int, r: int, order: Order, *, learns: bool = True) -> int:
    """As in the table."""
    if order == "merged":
        return 2 * b * n * (m + r * learns) + _merging(m, n, r)
    inner = m if order == "folded" else b
    return 2 * b * (n * m + n * r + m * r) + 2 * inner * r * r


def backward_operations(b: int, m: int, n: int, r: int, order: Order) -> int:
    """As in the table."""
    of_R = 2 * b * (m * r + r * r)
    if order == "merged":
        return 2 * b * n * m + of_R + _merging(m, n, r)
    inner = n if order == "folded" else b
    return 2 * b * (n * m + n * r) + of_R + 2 * inner * r * r


def _merging(m: int, n: int, r: int) -> int:
    return 2 * r * (m * n + r * min(m, n))


@lru_cache(maxsize=1024)  # of the shapes of a model and the lengths of its batches
def cheapest(b: int, m: int, n: int, r: int, *, learns: bool = True) -> tuple[Order, Order]:
    """The orders of the forward and the backward pass with the fewest operations."""
    return (
        min(ORDERS, key=lambda order: forward_operations(b, m, n, r, order, learns=learns)),
        min(ORDERS, key=lambda order: backward_operations(b, m, n, r, order)),
    )


class CoreProduct(torch.autograd.Function):
    """x W^T + s x A^T R^T B^T for x (b, n); of the weights R alone has a gradient."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them on in their order
        ctx: Any,
        x: Tensor,
        W: Tensor,
        A: Tensor,
        R: Tensor,
        B: Tensor,
        s: float,
        orders: tuple[Order, Order],
        learns: bool,
    ) -> Tensor:
        """`orders` of both passes; without `learns` there is no backward pass."""
        order, ctx.order = orders
        ctx.s = s
        low = x @ A.T if learns or order != "merged" else None
        if learns:
            ctx.save_for_backward(low, W, A, R, B)
        if low is None or order == "merged":
            return x @ _merged(W, A, R, B, s).T
        left, right = (low, (B @ R).T) if order == "folded" else (low @ R.T, B.T)
        return torch.addmm(x @ W.T, left, right, alpha=s)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of x and R."""
        (g,) = gradients
        low, W, A, R, B = ctx.saved_tensors
        inner = ctx.s * (g @ B)
        of_x = None
        if ctx.needs_input_grad[0]:
            if ctx.order == "merged":
                of_x = g @ _merged(W, A, R, B, ctx.s)
            else:
                pair = (inner, R @ A) if ctx.order == "folded" else (inner @ R, A)
                of_x = torch.addmm(g @ W, *pair)
        return of_x, None, None, inner.T @ low, None, None, None, None


def _merged(W: Tensor, A: Tensor, R: Tensor, B: Tensor, s: float) -> Tensor:
    """W + s B R A (m, n)."""
    pair = (B @ R, A) if W.shape[0] <= W.shape[1] else (B, R @ A)
    return torch.addmm(W, *pair, alpha=s)


class ChoosingLinear(LoraXSLinear):
    """LoRA-XS's layer; where all is of one dtype and another order pays, by the products above."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As LoRA-XS's."""
        # the shape first: in short passes it decides alone, and they are the ones that would notice
        learns, tokens = torch.is_grad_enabled(), x.numel() // self.in_features
        orders = cheapest(
            tokens, self.out_features, self.in_features, self.r[ADAPTER], learns=learns
        )
        used = orders if learns else orders[:1]
        if {*used} == {"apart"} or args or kwargs or not self._plain(x):
            return super().forward(x, *args, **kwargs)
        base: Any = self.base_layer
        B, R, A = (part[ADAPTER] for part in self._parts())
        W = base.weight.T if self.transposed else base.weight
        given = x.reshape(-1, x.shape[-1]), W, A, R, B, self.scaling[ADAPTER], orders, learns
        product: Tensor = CoreProduct.apply(*given)  # type: ignore[no-untyped-call]
        y = product.view(*x.shape[:-1], -1)
        return y if base.bias is None else y + base.bias

    def _plain(self, x: Tensor) -> bool:
        """Whether the adapter acts, without a cast, and R learns if anything does."""
        base: Any = self.base_layer
        if type(base) not in {nn.Linear, Conv1D} or self.disable_adapters or self.merged:
            return False
        B, R, A = (part[ADAPTER] for part in self._parts())
        learns = R.requires_grad or not torch.is_grad_enabled()
        return learns and nothing_cast(x, base.weight, A, R, B)


def choose_products(model: Network) -> Network:
    """The model, its LoRA-XS layers with such a forward pass."""
    for layer in model.modules():
        if type(layer) is LoraXSLinear:
            # PEFT has no hook for the class of this layer
            layer.__class__ = ChoosingLinear
    return model
