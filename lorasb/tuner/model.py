"""The PEFT tuner: puts adapted layers into a model, saves and loads them."""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError
from lorasb.tuner.config import LoraXSConfig
from lorasb.tuner.layer import LoraXSLayer

BASES = (".lora_xs_A.", ".lora_xs_B.")


class LoraXSModel(BaseTuner):  # type: ignore[misc]
    """A model with `lora_xs` adapters in its linear layers.

    Loading refuses a checkpoint that lacks a tensor of the adapter or has one too many (UserError).
    """

    prefix = "lora_xs_"
    tuner_layer_cls = LoraXSLayer
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def _create_and_replace(
        self,
        config: LoraXSConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        *,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        if isinstance(target, LoraXSLayer):
            target.update_layer(adapter_name, config)
            return
        base_layer = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if not isinstance(base_layer, nn.Linear | Conv1D):
            raise UserError(
                f"{current_key}: a {type(base_layer).__name__} cannot be adapted; "
                "target_modules should name linear layers"
            )
        layer = LoraXSLayer(target, current_key, adapter_name)
        layer.update_layer(adapter_name, config)
        self._replace_module(parent, target_name, layer, target)

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: LoraXSConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        selected: dict[str, Tensor] = super()._get_adapter_state_dict(
            model, config, adapter_name, state_dict, unwanted_adapter_names
        )
        return {
            key: value for key, value in selected.items() if config.save_bases or not _is_base(key)
        }

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: nn.Module,
        config: LoraXSConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        remapped: dict[str, Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        current = {
            key: value
            for key, value in model.state_dict().items()
            if f".{cls.prefix}" in key and key.endswith(f".{adapter_name}")
        }
        if not config.save_bases:  # computed again from the base weights when the layers were made
            remapped |= {key: value for key, value in current.items() if _is_base(key)}
        _refuse_other_keys(current.keys(), {key for key in remapped if f".{cls.prefix}" in key})
        return remapped


def _is_base(key: str) -> bool:
    return any(name in key for name in BASES)


def _refuse_other_keys(expected: Any, found: set[str]) -> None:
    for what, keys in (("lacks", expected - found), ("has superfluous", found - expected)):
        if keys:
            raise UserError(
                f"lora_xs checkpoint {what} {len(keys)} tensors, the first is {min(keys)}; "
                "it belongs to another model or configuration, or was written by a save that failed"
            )
