"""What a base model makes of training samples: inputs of adapted layers, states between blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorasb.errors import UserError, remake
from lorasb.files import atomic, load_tensors
from lorasb.models.layers import matching_modules, target_shapes

STATES = "states"


@dataclass
class Moments:
    """Of the inputs x (n,) of one layer, over all tokens of the samples; float32."""

    # mean of x x^T, (n, n)
    second: Tensor
    # mean of x, (n,)
    mean: Tensor
    # tokens a sample
    tokens: float
    # size of the largest entry: of each sample the largest, whatever is more negative
    largest: float

    @property
    def covariance(self) -> Tensor:
        """About the mean, (n, n)."""
        return self.second - torch.outer(self.mean, self.mean)


@dataclass
class Activations:
    """Moments by the layers' names; states between blocks, (blocks + 1, samples, width).

    A state is the mean over a sample's tokens: entering each block, and what the model makes of
    the last one, behind its closing norm where it has one.
    """

    moments: dict[str, Moments]
    states: Tensor


@torch.no_grad()
def estimate_activations(
    model: PreTrainedModel,
    samples: Iterable[Mapping[str, Tensor]],
    *,
    target_modules: Sequence[str] | str,
    exclude: Sequence[str] = (),
) -> Activations:
    """Of the base model without dropout, on batches of one sample each, which have no padding.

    `target_modules` and `exclude` are those of `matching_modules`. Sums are float32 on the host.

    Raises
    ------
    UserError
        If there is no sample, or a layer's inputs are not finite.
    """
    modules = matching_modules(model, target_modules, exclude)
    shapes = target_shapes(model, target_modules, exclude)
    sums = {name: _Sums(width) for name, (_, width) in shapes.items()}
    states = []
    model.eval()
    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_pre_hook(sums[name].take).remove)
        for sample in samples:
            inputs = {key: value.to(model.device) for key, value in sample.items()}
            inputs.pop("labels", None)
            found = model(**inputs, output_hidden_states=True).hidden_states
            states.append(torch.stack([state[0].float().mean(dim=0).cpu() for state in found]))
    if not states:
        raise UserError("activations: there is no sample")
    moments = {name: own.moments(name, len(states)) for name, own in sums.items()}
    return Activations(moments, torch.stack(states, dim=1))


def save_activations(found: Activations, path: Path | str) -> None:
    """Write them as safetensors."""
    tensors = {STATES: found.states.contiguous()}
    for name, own in found.moments.items():
        tensors[f"{name}/second"], tensors[f"{name}/mean"] = own.second, own.mean
        tensors[f"{name}/facts"] = torch.tensor([own.tokens, own.largest], dtype=torch.float64)
    with atomic(path) as partial:
        save_file(tensors, partial)


def load_activations(path: Path | str) -> Activations:
    """Read what `save_activations` wrote.

    Raises
    ------
    UserError
        If the file is missing or damaged, or a value is not finite.
    """
    tensors = load_tensors(path)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: {name} is not finite; {remake(path)}")
    names = [name.removesuffix("/facts") for name in tensors if name.endswith("/facts")]
    if STATES not in tensors or not names:
        raise UserError(f"{path}: no activations in it; {remake(path)}")
    moments = {
        name: Moments(
            tensors[f"{name}/second"], tensors[f"{name}/mean"], *tensors[f"{name}/facts"].tolist()
        )
        for name in names
    }
    return Activations(moments, tensors[STATES])


class _Sums:
    """Of one layer's inputs, as samples pass."""

    def __init__(self, width: int) -> None:
        self.second, self.total = torch.zeros(width, width), torch.zeros(width)
        self.tokens, self.largest = 0, 0.0

    def take(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """The hook of the layer."""
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
        self.second += (x.T @ x).cpu()
        self.total += x.sum(dim=0).cpu()
        self.tokens += len(x)
        self.largest = max(self.largest, abs(float(x.max())))

    def moments(self, name: str, samples: int) -> Moments:
        """What they come to."""
        if not self.tokens or not self.second.isfinite().all():
            raise UserError(f"activations: inputs of {name} are missing or not finite")
        tokens = self.tokens
        return Moments(self.second / tokens, self.total / tokens, tokens / samples, self.largest)
