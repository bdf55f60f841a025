"""Frozen bases under data parallelism: sent once, when a model is wrapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch.distributed as dist
from torch import nn

from lorasb.models.layers import COMPILED, PREFIX
from lorasb.tuner.layer import LoraXSLayer

LEFT_ALONE = "_ddp_params_and_buffers_to_ignore"  # what DistributedDataParallel looks for


def leave_bases_alone(model: nn.Module) -> None:
    """Keep DistributedDataParallel from sending B and A, which never change, at every step.

    It sends all buffers otherwise. Reading the names is the one moment in which all processes are
    known to be there: they then get the bases of the first process.
    """
    if not isinstance(getattr(model, LEFT_ALONE, None), _Bases):
        setattr(model, LEFT_ALONE, _Bases(model, getattr(model, LEFT_ALONE, ())))


class _Bases:
    """Names of what DistributedDataParallel leaves alone; reading them sends the bases once."""

    def __init__(self, model: nn.Module, others: Iterable[str]) -> None:
        self.model = model
        self.others = list(others)

    def __iter__(self) -> Iterator[str]:
        yield from self.others
        for layer_name, layer in self.model.named_modules():
            if not isinstance(layer, LoraXSLayer):
                continue
            for name, basis in layer.named_buffers():
                if not name.startswith(("lora_xs_A.", "lora_xs_B.")):
                    continue
                dist.broadcast(basis, src=0)
                # the model that is wrapped may be this one, a PeftModel, or a compiled one
                for prefix in ("", PREFIX, COMPILED, COMPILED + PREFIX):
                    yield f"{prefix}{layer_name}.{name}"
