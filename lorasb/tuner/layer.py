"""The adapted layer.

         x ---> W0 ------------------+---> y
         |                           |
         +---> A ---> R ---> B --- * s
              (r,in) (r,r) (out,r)

Only R is trained. B R A is formed for merging alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from peft.utils.quantization_utils import resolve_quantization_backend
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError
from lorasb.linalg.svd import truncated_svd
from lorasb.models.layers import Linear, linear_layer, linear_shape
from lorasb.seeding import generator
from lorasb.tuner.config import LoraXSConfig

EMPTY = (
    "adapter '{name}' is empty and can learn nothing: call lorasb.initialize_lora_sb first, "
    'or make it without init_weights="empty" and inference_mode'
)
# of fingerprints, relative: about by how much an update may be off
TOLERANCE = 1e-3
# while transformers' own loader is at work: an adapter's state is then what its file has
LOADING: ContextVar[bool] = ContextVar("LOADING", default=False)
R_STD = 1e-5  # of R's first values in LoRA-XS (arXiv 2405.17604)


def check_rank(name: str, rank: int, shape: Sequence[int]) -> None:
    """Refuse a rank that a weight of this shape does not allow."""
    if rank > min(shape):
        raise UserError(
            f"{name}: r is {rank}; the largest rank here is {min(shape)}, which rank_pattern can "
            "give to this layer alone"
        )


def fingerprint(name: str, B: Tensor, A: Tensor) -> Tensor:
    """(2, r), float32: B^T p and A q for random unit p and q that are the layer's, by its name.

    Other bases, of another weight or turned among close singular values, have others.
    """
    B, A = B.float().cpu(), A.float().cpu()
    random = generator(0, f"fingerprint of {name}")
    sides = [torch.randn(size, generator=random) for size in (len(B), A.shape[1])]
    p, q = (side / side.norm() for side in sides)
    return torch.stack([p @ B, A @ q])


def distance(found: Tensor, stored: Tensor) -> float:
    """Of two fingerprints, as a share of the second."""
    stored = stored.float().cpu()
    return ((found - stored).norm() / stored.norm()).item()


def _computing_dtype(x: Tensor) -> torch.dtype:
    """Of the adapter: that of autocast or of the activations."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    # A = S V^T times activations leaves float16's range
    return torch.float32 if x.dtype == torch.float16 else x.dtype


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T in the dtype of x."""
    if weight.dtype == x.dtype:
        return F.linear(x, weight)
    product: Tensor = _CastLinear.apply(x, weight)  # type: ignore[no-untyped-call]
    return product


class _CastLinear(torch.autograd.Function):
    """F.linear with a weight that is cast for the product alone: backward casts it once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        # a frozen weight needs no activations
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return F.linear(x, weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_x = gradient @ weight.to(gradient.dtype) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, None
        # sums over all tokens in the weight's own precision
        rows, columns = (side.flatten(0, -2).to(weight.dtype) for side in (gradient, x))
        return of_x, rows.T @ columns


class LoraXSLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A linear layer with `lora_xs` adapters.

    R (r, r) is a float32 parameter, B (out, r) and A (r, in) are float32 buffers, whatever the
    dtype of the base weight. Each is cast for its product to the dtype of autocast or of the
    activations, in which the adapter computes; float16 activations are cast to float32. The base
    weight is changed by `merge` alone: the sum is computed in float32 and cast to the weight's
    dtype, so that `unmerge` restores it up to rounding. A quantised weight is taken out of its
    quantisation for that, and quantised anew.
    """

    # what PEFT's mix-in defines
    get_base_layer: Callable[[], Linear]
    get_base_weight: Callable[[], Tensor]
    set_base_weight: Callable[[Tensor], None]
    set_adapter: Callable[..., None]
    delete_adapter: Callable[[str], None]
    _cast_input_dtype: Callable[[Tensor, torch.dtype], Tensor]
    active_adapters: list[str]
    disable_adapters: bool
    merged: bool

    adapter_layer_names = ("lora_xs_R",)
    other_param_names = (
        *("lora_xs_A", "lora_xs_B", "lora_xs_dropout", "lora_xs_fingerprint"),
        *("r", "scaling", "start_scaling", "start_R"),
    )
    cast_input_dtype_enabled = True

    def __init__(
        self,
        base_layer: nn.Module,
        name: str,
        adapter_name: str,
        quantization: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self._active_adapter = adapter_name
        self.base_layer = base_layer
        self.name = name
        self.transposed = isinstance(self.get_base_layer(), Conv1D)  # its weight is (in, out)
        self.out_features, self.in_features = linear_shape(self.get_base_layer())
        self.quantization_backend = resolve_quantization_backend(
            self.get_base_layer(), **quantization
        )
        self.lora_xs_R = nn.ParameterDict()
        self.lora_xs_A = BufferDict(persistent=True)
        self.lora_xs_B = BufferDict(persistent=True)
        self.lora_xs_dropout = nn.ModuleDict()
        # of a file without bases, while transformers' own loader is at work
        self.lora_xs_fingerprint = BufferDict(persistent=True)
        self.r: dict[str, int] = {}
        self.scaling: dict[str, float] = {}
        self.start_scaling: dict[str, float] = {}  # the configuration's
        # what R was before any training; None of an adapter that was made to be filled
        self.start_R: dict[str, Tensor | None] = {}
        self.merged_adapters: list[str] = []

    def update_layer(self, adapter_name: str, config: LoraXSConfig) -> None:
        """Add an adapter, or replace the one of that name.

        Raises
        ------
        UserError
            If PEFT does not know how the weight is quantised, the rank exceeds what it allows, or
            the bases are wanted from a weight that has no other form, or into which another adapter
            is merged.
        """
        linear_layer(self.name, self.get_base_layer(), quantized=True)
        check_rank(self.name, config.r, (self.out_features, self.in_features))
        self.r[adapter_name] = config.r
        self.scaling[adapter_name] = self.start_scaling[adapter_name] = config.scaling
        self.lora_xs_dropout[adapter_name] = (
            nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        )
        empty = config.init_weights == "empty" or self._device().type == "meta"
        # PEFT makes an adapter in inference mode in order to load it
        empty = empty or (config.inference_mode and config.stores_bases)
        B, R, A = self._empty(config.r) if empty else self._of_weight(config)
        self.start_R[adapter_name] = None if empty else R.clone()
        self.lora_xs_B[adapter_name] = B
        self.lora_xs_R[adapter_name] = nn.Parameter(R)
        self.lora_xs_A[adapter_name] = A
        if LOADING.get() and not config.stores_bases:
            self.lora_xs_B.register_buffer(adapter_name, B, persistent=False)
            self.lora_xs_A.register_buffer(adapter_name, A, persistent=False)
            self.lora_xs_fingerprint[adapter_name] = torch.zeros(2, config.r)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def matrices(self, adapter_name: str) -> tuple[Tensor, Tensor, Tensor]:
        """B, R and A in the widest of their dtypes."""
        B, R, A = (part[adapter_name] for part in self._parts())
        dtype = torch.promote_types(torch.promote_types(B.dtype, R.dtype), A.dtype)
        return B.to(dtype), R.to(dtype), A.to(dtype)

    def _parts(self) -> tuple[BufferDict, nn.ParameterDict, BufferDict]:
        return self.lora_xs_B, self.lora_xs_R, self.lora_xs_A

    def is_empty(self, adapter_name: str) -> bool:
        """Whether an adapter that was made to be filled has been neither filled nor loaded."""
        return self.start_R[adapter_name] is None and not self.lora_xs_B[adapter_name].any()

    def has_moved(self, adapter_name: str) -> bool:
        """Whether an adapter has been trained or loaded since it was made or filled."""
        R, start = self.lora_xs_R[adapter_name], self.start_R[adapter_name]
        if start is None:
            return not self.is_empty(adapter_name)
        return not torch.equal(R, start.to(R))

    @torch.no_grad()
    def fill(self, adapter_name: str, B: Tensor, R: Tensor, A: Tensor) -> None:
        """Copy values into an adapter, from which its training starts."""
        for matrices, value in zip(self._parts(), (B, R, A), strict=True):
            matrices[adapter_name].copy_(value)
        self.start_R[adapter_name] = self.lora_xs_R[adapter_name].clone()

    def set_scale(self, adapter: str, scale: float) -> None:
        """Set an adapter's scaling to `scale` times that of its configuration."""
        if adapter in self.scaling:
            self.scaling[adapter] = scale * self.start_scaling[adapter]

    def scale_layer(self, scale: float) -> None:
        """Multiply the scaling of the active adapters."""
        for adapter_name in self.active_adapters:
            if adapter_name in self.scaling:
                self.scaling[adapter_name] *= scale

    def unscale_layer(self, scale: float | None = None) -> None:
        """Divide the scaling of the active adapters; None: set it to the configuration's."""
        for adapter_name in self.active_adapters:
            if adapter_name in self.scaling:
                start = self.start_scaling[adapter_name]
                self.scaling[adapter_name] = (
                    start if scale is None else self.scaling[adapter_name] / scale
                )

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """The update s B R A, float32 at least, in the layout of the base weight."""
        B, R, A = self.matrices(adapter_name)
        dtype = torch.promote_types(B.dtype, torch.float32)
        delta = B.to(dtype) @ (self.scaling[adapter_name] * R.to(dtype)) @ A.to(dtype)
        return self._oriented(delta)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the updates of adapters (by default the active ones) to the base weight.

        Raises
        ------
        ValueError
            If `safe_merge` is set and a merged weight is not finite; the weight stays as it was.
        """
        for adapter_name in check_adapters_to_merge(self, adapter_names):
            if adapter_name not in self.r:
                continue
            merged = self._shifted_weight(adapter_name, 1)
            if safe_merge and not torch.isfinite(merged).all():
                raise ValueError(
                    f"{self.name}: NaNs detected in the merged weights. "
                    f"The adapter {adapter_name} seems to be broken"
                )
            self.set_base_weight(merged)
            self.merged_adapters.append(adapter_name)

    def unmerge(self) -> None:
        """Take the updates of all merged adapters out of the base weight."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            adapter_name = self.merged_adapters.pop()
            self.set_base_weight(self._shifted_weight(adapter_name, -1))

    def forward(
        self, x: Tensor, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any
    ) -> Tensor:
        """Output of the base layer, in its dtype, plus the updates of the active adapters.

        With `adapter_names` each row of the batch has the update of the adapter that is named for
        it, and none where that is "__base__".

        Raises
        ------
        ValueError
            If there are not as many names as rows, or an adapter is merged into the weight.
        """
        if adapter_names is not None:
            self._check_names(x, adapter_names)
        if self.disable_adapters and self.merged:
            self.unmerge()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        if adapter_names is not None:
            return self._mixed(x, result, adapter_names)
        dtype = result.dtype
        for adapter_name in self.active_adapters:
            if adapter_name in self.r:
                result = result + self._update(adapter_name, x)
        return result.to(dtype)

    def _update(self, adapter_name: str, x: Tensor) -> Tensor:
        """The output of s B R A."""
        if self.training and torch.is_grad_enabled():
            self._refuse_empty(adapter_name)
        x = self.lora_xs_dropout[adapter_name](self._cast_input_dtype(x, _computing_dtype(x)))
        B, R, A = (part[adapter_name] for part in self._parts())
        hidden = self.scaling[adapter_name] * _linear(_linear(x, A), R)
        return _linear(hidden, B)

    def _mixed(self, x: Tensor, result: Tensor, adapter_names: Sequence[str]) -> Tensor:
        """`result` with each row's own update."""
        dtype = result.dtype
        for adapter_name in dict.fromkeys(adapter_names):
            if adapter_name in self.r:
                rows = [row for row, name in enumerate(adapter_names) if name == adapter_name]
                index = torch.tensor(rows, device=x.device)
                update = self._update(adapter_name, x[index])
                result = result.to(torch.promote_types(result.dtype, update.dtype))
                result = result.index_add(0, index, update.to(result.dtype))
        return result.to(dtype)

    def _check_names(self, x: Tensor, adapter_names: Sequence[str]) -> None:
        if len(x) != len(adapter_names):
            raise UserError(
                f"{self.name}: {len(adapter_names)} adapter_names for a batch of {len(x)} rows; "
                "give one for each row"
            )
        if self.merged:
            raise UserError(
                f"{self.name}: adapter {self.merged_adapters[0]} is merged into the weight, and "
                "all rows would have it; unmerge it before adapter_names"
            )

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """PEFT can approximate the update by a LoRA; `lorasb.export_lora` does so exactly."""
        return True

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        """Move the adapter but, unlike PEFT's other layers, keep it in float32."""
        device = device or self._device()
        for matrices in self._parts():
            if matrices[adapter_name].device.type != "meta":
                matrices[adapter_name] = matrices[adapter_name].to(device)

    @property
    def base_dtype(self) -> torch.dtype | None:
        """Dtype of the base weight; None of one that is stored in codes."""
        weight = getattr(self.get_base_layer(), "weight", None)
        # GPTQ's layers have something else of that name
        return weight.dtype if isinstance(weight, Tensor) and weight.is_floating_point() else None

    def cast_to_base(self, adapter_name: str) -> None:
        """Hold an adapter in the dtype of the base weight, if that is one of numbers."""
        dtype = self.base_dtype
        if dtype is None:
            return
        for matrices in self._parts():
            matrices[adapter_name] = matrices[adapter_name].to(dtype)

    def end_loading(self, adapter_name: str) -> None:
        """Make bases that were no part of a file part of the state again.

        Raises
        ------
        UserError
            If the file is of an adapter with other bases.
        """
        if adapter_name not in self.lora_xs_fingerprint:
            return
        stored = self.lora_xs_fingerprint.pop(adapter_name)
        if stored.any():
            self.refuse_other_bases(adapter_name, stored)
        for matrices in (self.lora_xs_B, self.lora_xs_A):
            matrices[adapter_name] = matrices[adapter_name]

    def refuse_other_bases(self, adapter_name: str, stored: Tensor) -> None:
        """Compare the fingerprint of a file with that of the bases that are here.

        Raises
        ------
        UserError
            If they differ.
        """
        away = distance(self.fingerprint(adapter_name), stored)
        if away > TOLERANCE:
            raise UserError(
                f"{self.name}: the bases that were computed from this model's weight are not those "
                f"that the adapter was trained with ({away:.0e} away); load the base model with "
                "the weights and the dtype of training, or save with save_bases=True"
            )

    def fingerprint(self, adapter_name: str) -> Tensor:
        """That of an adapter's bases."""
        return fingerprint(self.name, self.lora_xs_B[adapter_name], self.lora_xs_A[adapter_name])

    def _device(self) -> torch.device:
        base = self.get_base_layer()
        return next(chain(base.parameters(), base.buffers())).device

    def _empty(self, r: int) -> tuple[Tensor, Tensor, Tensor]:
        """B, R and A that are zero, float32 on the weight's device."""
        shapes = ((self.out_features, r), (r, r), (r, self.in_features))
        B, R, A = (torch.zeros(shape, device=self._device()) for shape in shapes)
        return B, R, A

    def _of_weight(self, config: LoraXSConfig) -> tuple[Tensor, Tensor, Tensor]:
        """B, R and A of LoRA-XS's start, float32 on the weight's device."""
        if self.merged:
            raise UserError(
                f"{self.name}: adapter {self.merged_adapters[0]} is merged into the weight; "
                "unmerge it before an adapter takes its bases from the weight"
            )
        weight = self._oriented(self._plain_weight("bases of LoRA-XS"))
        random = generator(config.seed, self.name)
        factors = truncated_svd(weight, config.r, generator=random)
        R = torch.empty(config.r, config.r).normal_(0.0, R_STD, generator=random)
        # contiguous as loading makes it: other strides sum in another order, to other bits
        A = (factors.S[:, None] * factors.V.T).contiguous()
        return factors.U, R.to(weight.device), A

    def _refuse_empty(self, adapter_name: str) -> None:
        if self.start_R[adapter_name] is not None:
            return
        if self.is_empty(adapter_name):
            raise UserError(EMPTY.format(name=adapter_name))
        # loaded: looked at once
        self.start_R[adapter_name] = torch.zeros_like(self.lora_xs_R[adapter_name])

    def _plain_weight(self, purpose: str) -> Tensor:
        """The base weight, out of its quantisation if it has one, in its own layout."""
        try:
            return self.get_base_weight().detach()
        except (TypeError, NotImplementedError) as error:
            raise UserError(f"{self.name}: its weight is needed for {purpose}; {error}") from error

    def _shifted_weight(self, adapter_name: str, sign: int) -> Tensor:
        weight = self._plain_weight("merging")
        delta = self.get_delta_weight(adapter_name).detach().to(weight.device)
        return (weight.float() + sign * delta).to(weight.dtype)

    def _oriented(self, matrix: Tensor) -> Tensor:
        """Between (out, in) and the layout of the base weight, both ways."""
        return matrix.T if self.transposed else matrix

    def __repr__(self) -> str:
        return "lora_xs." + super().__repr__()


class LoraXSLinear(LoraXSLayer):
    """The layer, by a name of which PEFT tells that "all-linear" means it."""
