"""SoRA (arXiv 2311.11696): LoRA whose ranks have gates, which an L1 proximal step sets to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lorasb.files import atomic, load_tensors, read_json, write_json
from lorasb.methods.method import Context, Network
from lorasb.methods.peft.method import PeftMethod

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from torch import Tensor
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts
    from lorasb.methods.hooks import StepHook

Threshold = Literal["soft", "official"]
TauScale = Literal["lr", "fixed"]


class SoRA(PeftMethod):
    """W = W0 + s B diag(g) A, with g drawn from N(0, 1), B = 0.

    After each step of AdamW, g <- T(g) with T(v) = sign(v) max(|v| - tau, 0), tau = `lambda` times
    the step's learning rate (`tau_scale: lr`, the paper's) or `lambda` itself (`fixed`). The
    authors' code (`threshold: official`) zeroes what is below 2 tau. A rank whose gate is zero may
    return; those that are zero at the end are not saved, and other gates are multiplied into A.
    With `stages` above 1, the authors' sparsifying schedule: in stage i of so many equal ones,
    `lambda` is multiplied by i / `stages`.

    Arguments: `options` of PEFT's `LoraConfig`, and the four above.
    """

    keys: ClassVar = {
        "options": {"type": "object"},
        "lambda": {"type": "number", "minimum": 0},
        "threshold": {"enum": ["soft", "official"], "default": "soft"},
        "tau_scale": {"enum": ["lr", "fixed"], "default": "lr"},
        "stages": {"type": "integer", "minimum": 1, "default": 1},
    }

    def __init__(self, options: dict[str, Any], **arguments: Any) -> None:
        super().__init__(config="LoraConfig", options=options, counts="lora")
        self.size: float = arguments["lambda"]
        self.threshold: Threshold = arguments.get("threshold", "soft")
        self.tau_scale: TauScale = arguments.get("tau_scale", "lr")
        self.stages: int = arguments.get("stages", 1)

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """LoRA whose A is read as diag(g) A."""
        from torch.nn.utils import parametrize

        from lorasb.methods.peft.moved_start import lora_layers
        from lorasb.methods.sora_gate import Gate

        adapted = super().wrap(model, context)
        for layer in lora_layers(adapted).values():
            A = layer.lora_A["default"]
            parametrize.register_parametrization(A, "weight", Gate(A.weight))
        return adapted

    def hooks(self, model: Network) -> list[StepHook]:
        """The proximal step."""
        from lorasb.methods.sora_gate import Proximal

        by_rate = self.tau_scale == "lr"
        proximal = Proximal(model, self.size, self.threshold, self.stages, by_rate=by_rate)
        return [*super().hooks(model), proximal]

    def save(self, model: Network, folder: Path) -> None:
        """Write plain LoRA with the ranks whose gates are not zero; one of zeros if all are."""
        super().save(model, folder)
        from safetensors.torch import save_file

        from lorasb.methods.peft.moved_start import lora_layers
        from lorasb.models.layers import PREFIX

        path = folder / "adapter_model.safetensors"
        tensors, layers = load_tensors(path), lora_layers(model)
        tensors = {k: v for k, v in tensors.items() if ".parametrizations." not in k}
        ranks, alphas = {}, {}
        for name, layer in layers.items():
            A, B = cut(layer)
            tensors[f"{PREFIX}{name}.lora_A.weight"] = A
            tensors[f"{PREFIX}{name}.lora_B.weight"] = B
            if len(A) < layer.r["default"]:
                ranks[name], alphas[name] = len(A), layer.scaling["default"] * len(A)
        with atomic(path) as partial:
            save_file(tensors, partial, {"format": "pt"})
        config = read_json(folder / "adapter_config.json")
        changed = {"rank_pattern": ranks, "alpha_pattern": alphas}
        write_json(folder / "adapter_config.json", config | changed)

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """LoRA's, and a gate for each rank in training; stored if no gate is zero."""
        plain = super().count(shapes, rank, base_params)
        return replace(plain, trainable=plain.trainable + rank * len(self.adapted(shapes)))


def cut(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    """diag(g) A and B without the ranks whose gate is zero; at least one of them."""
    A, B = layer.lora_A["default"].weight.detach().cpu(), layer.lora_B["default"].weight
    gate = layer.lora_A["default"].parametrizations.weight[0].gate.detach().cpu()
    left = gate.nonzero().flatten()
    if not len(left):
        left = gate.abs().argmax()[None]
    return A[left].contiguous(), B.detach().cpu()[:, left].contiguous()


METHOD = SoRA
