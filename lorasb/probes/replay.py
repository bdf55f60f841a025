"""The models that a cell was at its kept steps, from what it kept of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lorasb.errors import UserError, remake
from lorasb.files import load_tensors
from lorasb.methods.method import Method, Network
from lorasb.models.layers import PREFIX, matching_modules, oriented_weight
from lorasb.study.cells import Cell
from lorasb.study.study import Resolved, Study
from lorasb.training.setup import context, load_base

# of a central difference, relative to the parameters: exact where weights are products of two
# trained matrices, and elsewhere wrong by about its square
DIFFERENCE = 1e-2
# where PEFT keeps trained copies of whole modules
COPIES = ("modules_to_save", "ln_tuning_layers")


@dataclass(frozen=True)
class Moment:
    """A cell after a step. `model` is one object for all steps of the cell: use it before the next.

    All tensors are float32 on the CPU, but for the parameters.
    """

    step: int
    # adapted weight -> its change so far, (out, in)
    updates: Mapping[str, Tensor]
    # what is trained besides the adapted weights, by its name in the base model
    carried: Mapping[str, Tensor]
    method: Method
    model: Network
    # the trained parameters that change the adapted weights
    parameters: Sequence[nn.Parameter]
    # the adapted weights before training, (out, in)
    base: Mapping[str, Tensor]

    def change_along(self, direction: Sequence[Tensor]) -> dict[str, Tensor]:
        """Derivative of each adapted weight as `parameters` move along `direction`.

        By a central difference of the method's own updates; parameters keep their bits.
        """
        size = _norm(direction)
        if not size:
            return {name: torch.zeros_like(weight) for name, weight in self.updates.items()}
        length = DIFFERENCE * (_norm(self.parameters) or 1.0) / size
        ahead = self._updates_at(direction, length)
        behind = self._updates_at(direction, -length)
        return {name: (ahead[name] - behind[name]) / (2 * length) for name in ahead}

    @torch.no_grad()
    def _updates_at(self, direction: Sequence[Tensor], length: float) -> dict[str, Tensor]:
        before = [parameter.clone() for parameter in self.parameters]
        for parameter, along in zip(self.parameters, direction, strict=True):
            parameter.add_(along, alpha=length)
        moved = realised_updates(self.method, self.model, self.base)
        for parameter, value in zip(self.parameters, before, strict=True):
            parameter.copy_(value)
        return moved


def replay(study: Study, cell: Cell, rows: int) -> Iterator[Moment]:
    """The cell at each step that it kept, in float32; `rows` is the number of training rows.

    Raises
    ------
    UserError
        If what was kept does not fit the cell.
    """
    resolved = study.resolved(cell.model, cell.task)
    network, _ = load_base(resolved, cell.seed)
    network = network.float()
    base = base_weights(network, resolved)
    names = {name for name, _ in network.named_parameters()}
    method = study.variants[cell.variant].method
    model = method.attach(network, context(study, cell, rows)).eval()
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    besides = {
        name: plain
        for name in trained
        if (plain := plain_name(name)) in names and plain.removesuffix(".weight") not in base
    }
    for step, kept in sorted(_kept(cell).items()):
        _check(cell, step, kept, trained)
        with torch.no_grad():
            for name, value in kept.items():
                trained[name].copy_(value)
        yield Moment(
            step=step,
            updates=realised_updates(method, model, base),
            carried={plain: kept[name].float() for name, plain in besides.items()},
            method=method,
            model=model,
            parameters=[value for name, value in trained.items() if name not in besides],
            base=base,
        )


def base_weights(network: nn.Module, resolved: Resolved) -> dict[str, Tensor]:
    """Copies of the weights that are to be adapted, (out, in)."""
    modules = matching_modules(network, resolved.model.target_modules, resolved.task_head)
    return {name: oriented_weight(module).clone() for name, module in modules.items()}


@torch.no_grad()
def realised_updates(
    method: Method, model: Network, base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The change of each adapted weight, float32, on the CPU."""
    return {name: value.cpu() for name, value in method.updates(model, base).items()}


def _kept(cell: Cell) -> dict[int, dict[str, Tensor]]:
    kept: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in load_tensors(cell.folder / "snapshots.safetensors").items():
        step, name = key.split("/", 1)
        kept[int(step)][name] = value
    return kept


def _check(
    cell: Cell, step: int, kept: Mapping[str, Tensor], trained: Mapping[str, Tensor]
) -> None:
    """Refuse what is not a value of each parameter that the cell trains."""
    path = cell.folder / "snapshots.safetensors"
    shapes = {name: value.shape for name, value in trained.items()}
    if {name: value.shape for name, value in kept.items()} != shapes:
        raise UserError(
            f"{path}: step {step} does not have the parameters that the cell trains; {remake(path)}"
        )
    for name, value in kept.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: step {step}: {name} is not finite; {remake(path)}")


def plain_name(name: str) -> str:
    """The name in the base model of a parameter that a PEFT model wraps."""
    for copies in COPIES:
        name = name.replace(f".{copies}.default.", ".")
    return name.removeprefix(PREFIX)


def _norm(tensors: Sequence[Tensor]) -> float:
    return sum(tensor.detach().double().square().sum().item() for tensor in tensors) ** 0.5
