"""Which layers of a model are adapted, and their weights as (out, in)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parallel import DataParallel, DistributedDataParallel
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError
from lorasb.models.shapes import LayerShapes

if TYPE_CHECKING:
    from peft import PeftConfig

PREFIX = "base_model.model."  # of module names inside a PeftModel
COMPILED = "_orig_mod."  # in module names inside what `torch.compile` made


Linear: TypeAlias = nn.Linear | Conv1D


def unwrapped(model: nn.Module) -> Any:
    """The model inside the wrappers of `torch.compile` and of data parallelism."""
    inner: Any = model
    while True:
        if "_orig_mod" in inner._modules:  # a PeftModel looks for attributes further inside
            inner = inner._orig_mod
        elif isinstance(inner, DataParallel | DistributedDataParallel):
            inner = inner.module
        else:
            return inner


def base_name(name: str) -> str:
    """A module's name in the base model, from its name in a PeftModel or a compiled model."""
    return name.replace(COMPILED, "").removeprefix(PREFIX)


def matching_modules(
    model: nn.Module,
    target_modules: Sequence[str] | str | PeftConfig,
    exclude: Sequence[str] = (),
    *,
    quantized: bool = False,
) -> dict[str, Linear]:
    """The linear layers that an adapter changes, by name, in the model's order.

    By PEFT's own rule, as the tuner follows it: a target is a layer's whole name, or its end after
    a dot; or all targets are one regular expression, or "all-linear". Layers inside a module of
    `exclude` (the task head) never match. A PEFT config in place of the targets brings its
    `exclude_modules`, `modules_to_save`, `layers_to_transform` and `layers_pattern` with it.
    `quantized` allows layers whose quantisation PEFT knows.

    Raises
    ------
    UserError
        If a target matches nothing, something else than a linear layer in full or half precision,
        or experts that are one 3-D parameter.
    """
    from peft.tuners.tuners_utils import (
        _maybe_include_all_linear_layers,
        check_target_module_exists,
    )

    rule = _rule(model, target_modules, exclude)
    named = rule.target_modules
    _maybe_include_all_linear_layers(rule, model)
    layers = dict(_outer_modules(model))
    _refuse_experts(layers, rule, all_linear=named == "all-linear")
    found = {
        name: module for name, module in layers.items() if check_target_module_exists(rule, name)
    }
    # a configuration may name what it excludes: PEFT writes "all-linear" out that way
    pool = found if isinstance(rule, SimpleNamespace) else layers
    for target in [named] if isinstance(named, str) else sorted(named):
        means = found if isinstance(named, str) else [n for n in pool if ends_with(n, target)]
        _check_target(type(model), layers, target, list(means))
    if not found:
        raise UserError(f"every layer that {sorted(named)} mean is excluded; nothing is adapted")
    return {name: linear_layer(name, module, quantized=quantized) for name, module in found.items()}


def is_quantized(module: nn.Module) -> bool:
    """Whether it is a layer whose quantisation PEFT knows."""
    from peft.utils.quantization_utils import resolve_quantization_backend

    # how torchao quantises anew is of no account here
    return resolve_quantization_backend(module, get_apply_tensor_subclass=object) is not None


def linear_layer(name: str, module: nn.Module, *, quantized: bool = False) -> Linear:
    """The module, if its weight is the W of y = W x + b in full or half precision.

    With `quantized` also where PEFT knows how the weight is quantised.

    Raises
    ------
    UserError
        If it is another kind of layer, or its weight is quantised, packed or spread over devices.
    """
    if isinstance(module, NonDynamicallyQuantizableLinear):
        raise UserError(
            f"{name}: torch's MultiheadAttention reads the weight of this layer past the layer, so "
            "an adapter on it would do nothing; leave it out by exclude_modules"
        )
    if quantized and is_quantized(module):
        return cast(Linear, module)
    if not isinstance(module, Linear):
        raise UserError(
            f"{name}: a {type(module).__name__} cannot be adapted; target_modules should name "
            "linear layers in full or half precision"
        )
    weight, shape = module.weight, _declared_shape(module)
    plain = type(weight) is nn.Parameter and weight.is_floating_point() and weight.itemsize > 1
    if not plain or weight.shape != shape:
        raise UserError(
            f"{name}: its weight is a {type(weight).__name__} of {weight.dtype} and shape "
            f"{tuple(weight.shape)}, which cannot be adapted; it should be {tuple(shape)} in full "
            "or half precision, so load the model without quantisation or sharding"
        )
    return module


def target_shapes(
    model: nn.Module,
    target_modules: Sequence[str] | str | PeftConfig,
    exclude: Sequence[str] = (),
    *,
    quantized: bool = False,
) -> LayerShapes:
    """Shapes (out, in) of the weights that `matching_modules` finds."""
    modules = matching_modules(model, target_modules, exclude, quantized=quantized)
    shapes = LayerShapes({name: linear_shape(module) for name, module in modules.items()})
    norms = norm_layers(model, exclude).values()
    shapes.norms = sum(value.numel() for norm in norms for value in norm.parameters())
    return shapes


def norm_layers(model: nn.Module, exclude: Sequence[str] = ()) -> dict[str, nn.Module]:
    """The layers that normalise, by name: those of a class called ...Norm with a length a feature.

    Layers inside a module of `exclude` (the task head) are left out.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Norm")
        and getattr(getattr(module, "weight", None), "ndim", None) == 1
        and not is_inside(name, exclude)
    }


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Shapes (out, in) of all linear layers, by name."""
    modules = model.named_modules()
    return {name: linear_shape(module) for name, module in modules if isinstance(module, Linear)}


def linear_shape(module: Linear) -> tuple[int, int]:
    """The layer's (out, in), however its weight is stored."""
    rows, columns = _declared_shape(module)
    return (columns, rows) if isinstance(module, Conv1D) else (rows, columns)


def oriented_weight(module: Linear) -> torch.Tensor:
    """The layer's weight as (out, in), detached; transformers' Conv1D keeps it the other way."""
    weight = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


def head_parameters(model: nn.Module, head: Sequence[str]) -> dict[str, nn.Parameter]:
    """Parameters of the task head, by name.

    Raises
    ------
    UserError
        If a module of `head` is not in the model.
    """
    parameters = dict(model.named_parameters())
    for module in head:
        if not any(is_inside(name, [module]) for name in parameters):
            raise UserError(f"task_head: {type(model).__name__} has no module '{module}'")
    return {name: value for name, value in parameters.items() if is_inside(name, head)}


def _check_target(
    kind: type[nn.Module], layers: Mapping[str, nn.Module], target: str, names: Sequence[str]
) -> None:
    """Refuse a target that means none of the layers so named, or no linear one."""
    if any(isinstance(layers[name], Linear) or is_quantized(layers[name]) for name in names):
        return
    other = [f"{name}: a {type(layers[name]).__name__} cannot be adapted; " for name in names[:1]]
    linear = [name for name, module in layers.items() if isinstance(module, Linear)]
    ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
    raise UserError(
        f"{''.join(other)}target module '{target}' matches no linear layer of "
        f"{kind.__name__}; their names end in: {', '.join(ends)}; they should be in full or "
        "half precision"
    )


def _refuse_experts(layers: Mapping[str, nn.Module], rule: Any, *, all_linear: bool) -> None:
    """Refuse targets that mean experts of a mixture that are stacked in one parameter."""
    from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

    for name, module in layers.items():
        stacked = _stacked_experts(module)
        if not stacked or isinstance(check_target_module_exists(rule, name), _ExcludedModule):
            continue
        names = {f"{name}.{part}" for parameter in stacked for part in _fused(parameter)}
        if all_linear or any(check_target_module_exists(rule, each) for each in names):
            raise UserError(
                f"{name}: {' and '.join(stacked)} hold the weights of all experts in one "
                "parameter each, which cannot be adapted; name the layers outside the experts in "
                'target_modules, or leave these out by exclude_modules=["experts"]'
            )


def _stacked_experts(module: nn.Module) -> list[str]:
    """Names of the parameters (experts, rows, columns) that a mixture's module holds itself."""
    experts = getattr(module, "num_experts", None)
    return [
        name
        for name, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3 and len(weight) == experts
    ]


def _fused(parameter: str) -> tuple[str, ...]:
    """Names of a stacked parameter: its own, and those of the layers that became it."""
    fused = ("gate_proj", "up_proj") if parameter == "gate_up_proj" else ()
    return parameter, *fused


def _declared_shape(module: Linear) -> tuple[int, int]:
    """What the weight's shape should be, as the layer stores it."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return module.out_features, module.in_features


def _rule(
    model: nn.Module, targets: Sequence[str] | str | PeftConfig, exclude: Sequence[str]
) -> Any:
    """A copy of what PEFT reads to match names."""
    if isinstance(targets, str | Sequence | Set):
        rule = SimpleNamespace(target_modules=targets, modules_to_save=None, task_type=None)
    else:
        rule = copy.copy(targets)
    rule.modules_to_save = [*(rule.modules_to_save or ()), *exclude]
    if rule.target_modules is None:
        rule.target_modules = _peft_choice(model, rule)
    return rule


def _peft_choice(model: nn.Module, config: PeftConfig) -> Sequence[str] | str:
    """What PEFT adapts in a model of this type where a config names no targets."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    settings = BaseTuner.get_model_config(model)  # any model's; a dictionary where PEFT knows them
    kind = settings.get("model_type") if isinstance(settings, Mapping) else None
    found = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type].target_module_mapping.get(kind)
    if found is None:
        raise UserError(
            f"target_modules: PEFT has no choice for a model of type '{kind}'; name them"
        )
    return found


def _outer_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules, but of one that a tuner has wrapped the base layer, and nothing inside it."""
    wrapped: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if not name or name.startswith(wrapped):
            continue
        if hasattr(module, "get_base_layer"):
            wrapped = (*wrapped, f"{name}.")
            yield name, module.get_base_layer()
        else:
            yield name, module


def ends_with(name: str, target: str) -> bool:
    """Whether a target is a module's whole name, or its end after a dot."""
    return name == target or name.endswith(f".{target}")


def is_inside(name: str, modules: Sequence[str]) -> bool:
    """Whether a layer or parameter lies in one of the modules."""
    return any(f".{module}." in f".{name}." for module in modules)
