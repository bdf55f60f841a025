"""The PEFT tuner: puts adapted layers into a model, saves and loads them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraModel
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import AuxiliaryTrainingWrapper
from peft.utils.quantization_utils import get_quantization_kwargs
from torch import Tensor, nn

from lorasb.errors import UserError
from lorasb.models.layers import COMPILED, base_name, target_shapes
from lorasb.tuner.config import LoraXSConfig
from lorasb.tuner.layer import EMPTY, LoraXSLayer, LoraXSLinear, check_rank
from lorasb.tuner.parallel import leave_bases_alone
from lorasb.tuner.weighted import Combination, check_combination, check_terms, combined

BASE = "__base__"  # PEFT's name for no adapter
BASES = (".lora_xs_A.", ".lora_xs_B.")
FINGERPRINT = ".lora_xs_fingerprint"  # in a checkpoint without bases: what tells whose they were


class LoraXSModel(BaseTuner):  # type: ignore[misc]
    """A model with `lora_xs` adapters in its linear layers.

    Loading refuses a checkpoint that lacks a tensor of the adapter or has one too many (UserError).
    """

    prefix = "lora_xs_"
    tuner_layer_cls = LoraXSLayer
    _add_modules_to_save_to_tie = LoraModel._add_modules_to_save_to_tie
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        *arguments: Any,
        state_dict: dict[str, Tensor] | None = None,
        **options: Any,
    ) -> None:
        """Adapt the layers that the configuration names, once each of them is seen to allow it.

        Raises
        ------
        UserError
            If a target matches no linear layer in full or half precision, a rank is too large, or a
            pattern matches nothing. The model is then as it was.
        """
        config = self.peft_config[adapter_name]
        if state_dict is None:  # else its names say what is adapted
            shapes = target_shapes(model, config, quantized=True)
            for name, shape in shapes.items():
                check_rank(name, config.of_layer(name).r, shape)
            config.check_patterns(shapes)
        try:
            super().inject_adapter(
                model, adapter_name, *arguments, state_dict=state_dict, **options
            )
        except Exception:
            take_out(model, adapter_name)
            raise
        leave_bases_alone(model)

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
        own = config.of_layer(current_key)
        if isinstance(target, LoraXSLayer):
            target.update_layer(adapter_name, own)
            return
        name = current_key.replace(COMPILED, "")
        quantization = get_quantization_kwargs(self.model)
        layer = LoraXSLinear(target, name, adapter_name, quantization)
        layer.update_layer(adapter_name, own)
        if isinstance(parent, nn.TransformerEncoderLayer):
            # its fast path reads weights past their layers, and is left to modules without hooks
            layer.register_forward_pre_hook(_do_nothing)
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        """Set it: an adapted layer is where its weight is, a head may have several layers."""
        setattr(parent, child_name, new_module)

    def add_weighted_adapter(
        self,
        adapters: list[str],
        weights: list[float],
        adapter_name: str,
        combination_type: Combination = "linear",
        **others: Any,
    ) -> None:
        """Add the weighted sum of adapters' updates as an adapter, exactly.

        "linear" needs adapters of the same bases and keeps the rank, "cat" adds up the ranks.
        `others` are settings of PEFT's further combinations, which are refused.

        Raises
        ------
        UserError
            If an adapter is unknown or has trained modules beside R, if the new name is taken, or
            with "linear", if bases differ.
        """
        check_combination(combination_type, others)
        check_terms(self.peft_config, adapters, weights, adapter_name)
        terms: defaultdict[str, float] = defaultdict(float)
        for name, weight in zip(adapters, weights, strict=True):
            terms[name] += weight
        sums = {
            layer.name: combined(layer, terms, combination_type)
            for name in terms
            for layer in layers_of(self.model, name)
        }
        ranks = {name: len(R) for name, (_, R, _) in sums.items()}
        first = self.peft_config[adapters[0]]
        self.peft_config[adapter_name] = LoraXSConfig(
            r=max(ranks.values()),
            rank_pattern={name: r for name, r in ranks.items() if r < max(ranks.values())},
            target_modules=list(sums),
            init_weights="empty",
            task_type=first.task_type,
            base_model_name_or_path=first.base_model_name_or_path,
        )
        try:
            self.inject_adapter(self.model, adapter_name)
        except Exception:
            del self.peft_config[adapter_name]
            raise
        for layer in layers_of(self.model, adapter_name):
            layer.fill(adapter_name, *sums[layer.name])

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Keep the float32 that adapters are made in, or hold them in the base weights' dtype."""
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if not autocast_adapter_dtype:
            for layer in layers_of(self.model, adapter_name):
                layer.cast_to_base(adapter_name)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Hand `adapter_names`, an adapter for each row of a batch, to what has adapters.

        Raises
        ------
        ValueError
            If the model is in training mode, or has no adapter of a name.
        """
        names: Sequence[str] | None = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        self._check_names(names)
        beams = kwargs.get("num_beams") or 1
        hook = partial(_hand_over, names=names, beams=beams)
        having = (LoraXSLayer, AuxiliaryTrainingWrapper)
        handles = [
            module.register_forward_pre_hook(hook, with_kwargs=True)
            for module in self.modules()
            if isinstance(module, having)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _check_names(self, names: Sequence[str]) -> None:
        if self.training:
            raise UserError("adapter_names are for inference; call model.eval() first")
        for name in dict.fromkeys(names):
            if name != BASE and name not in self.peft_config:
                raise UserError(
                    f"adapter_names: no adapter '{name}'; there are "
                    f"{', '.join([*self.peft_config, BASE])}"
                )

    def _add_targets_to_tie(self, config: LoraXSConfig, tied: list[str]) -> None:
        """What PEFT calls where `ensure_weight_tying` meets targets that are tied."""
        raise UserError(
            f"ensure_weight_tying: target_modules name a layer tied to the embedding "
            f"({', '.join(tied)}), which cannot be adapted; leave it out there, or set "
            "ensure_weight_tying to False"
        )

    def _check_merge_allowed(self) -> None:
        owners = Counter(
            id(weight) for module in self.model.modules() for weight in module._parameters.values()
        )
        for name, layer in self.model.named_modules():
            if not isinstance(layer, LoraXSLayer) or layer.quantization_backend:
                continue
            if owners[id(layer.get_base_layer().weight)] > 1:
                raise UserError(
                    f"{name}: its weight is tied to another layer's, which merging would change "
                    "too; load the base model with tie_word_embeddings=False, or use "
                    "lorasb.export_lora, which leaves the weight alone"
                )

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: LoraXSConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        _refuse_empty(model, adapter_name)
        selected: dict[str, Tensor] = super()._get_adapter_state_dict(
            model, config, adapter_name, state_dict, unwanted_adapter_names
        )
        selected = {key: value for key, value in selected.items() if FINGERPRINT not in key}
        _refuse_split(selected)
        if config.stores_bases:
            return selected if config.save_dtype == "float32" else _in_base_dtype(model, selected)
        kept = {key: value for key, value in selected.items() if not _is_base(key)}
        return kept | {
            f"{name}{FINGERPRINT}.{adapter_name}": module.fingerprint(adapter_name)
            for name, module in model.named_modules()
            if isinstance(module, LoraXSLayer) and adapter_name in module.r
        }

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """The key of a checkpoint, in which nothing tells whether the model was compiled."""
        plain = key.replace(COMPILED, "")
        return str(super()._remove_adapter_name_from_key(plain, adapter_name))

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: nn.Module,
        config: LoraXSConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        of_bases = {key: state_dict.pop(key) for key in list(state_dict) if FINGERPRINT in key}
        _refuse_other_bases(model, adapter_name, of_bases)
        remapped: dict[str, Tensor] = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        current = {
            key: value
            for key, value in model.state_dict().items()
            if f".{cls.prefix}" in key and key.endswith(f".{adapter_name}")
        }
        if not config.stores_bases:  # computed from the base weights when the layers were made
            remapped |= {key: value for key, value in current.items() if ".lora_xs_R." not in key}
        refuse_other_keys(current.keys(), {key for key in remapped if f".{cls.prefix}" in key})
        return remapped


def layers_of(model: nn.Module, adapter_name: str) -> list[LoraXSLayer]:
    """The layers that have an adapter of that name."""
    return [
        module
        for module in model.modules()
        if isinstance(module, LoraXSLayer) and adapter_name in module.r
    ]


def take_out(model: nn.Module, adapter_name: str) -> None:
    """Undo an injection: layers that are left without an adapter become what they were."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraXSLayer) and adapter_name in layer.r:
            layer.delete_adapter(adapter_name)
            if not layer.r:
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, layer.base_layer)


def refuse_other_keys(expected: Set[str], found: Set[str]) -> None:
    """Refuse a file with other tensors than an adapter has (UserError)."""
    for what, keys in (("lacks", expected - found), ("has superfluous", found - expected)):
        if keys:
            raise UserError(
                f"lora_xs checkpoint {what} {len(keys)} tensors, the first is {min(keys)}; "
                "it belongs to another model or configuration, or was written by a save that failed"
            )


def _do_nothing(module: nn.Module, args: Any) -> None:
    """A hook."""


def _hand_over(
    module: nn.Module, args: Any, kwargs: dict[str, Any], *, names: Sequence[str], beams: int
) -> tuple[Any, dict[str, Any]]:
    """Add the names of the rows; where rows are beams, each row's name as often as it has beams."""
    rows = len(args[0] if args else next(iter(kwargs.values())))
    each = beams if rows == beams * len(names) else 1
    return args, kwargs | {"adapter_names": [name for name in names for _ in range(each)]}


def _refuse_empty(model: nn.Module, adapter_name: str) -> None:
    if any(layer.is_empty(adapter_name) for layer in layers_of(model, adapter_name)):
        raise UserError(EMPTY.format(name=adapter_name))


def _refuse_split(tensors: dict[str, Tensor]) -> None:
    for key, value in tensors.items():
        if ".lora_xs_R" in key and value.ndim != 2:
            raise UserError(
                f"{key}: of shape {tuple(value.shape)}, as DeepSpeed splits it over processes; "
                "gather the state and pass it on, save_pretrained(folder, state_dict=...)"
            )


def _refuse_other_bases(model: nn.Module, adapter_name: str, stored: dict[str, Tensor]) -> None:
    fingerprints = {base_name(key): value for key, value in stored.items()}
    for layer in layers_of(model, adapter_name):
        fingerprint = fingerprints.get(f"{layer.name}{FINGERPRINT}")
        if fingerprint is not None:
            layer.refuse_other_bases(adapter_name, fingerprint)


def _in_base_dtype(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """B and A in the dtype of their base weight, where that is half precision."""
    dtypes = {
        f"{name}.": module.base_dtype
        for name, module in model.named_modules()
        if isinstance(module, LoraXSLayer)
    }
    half = (torch.bfloat16, torch.float16)
    return {
        key: value.to(dtype)
        if _is_base(key) and (dtype := dtypes.get(key.partition("lora_xs_")[0])) in half
        else value
        for key, value in tensors.items()
    }


def _is_base(key: str) -> bool:
    return any(name in key for name in BASES)
