"""From a method's name to its class. A method is one file in `lorasb/methods/`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lorasb.config import load_variant, unknown
from lorasb.errors import UserError

if TYPE_CHECKING:
    from lorasb.methods.base import Method

# name -> module of lorasb.methods that defines the class `METHOD`
_METHODS = {
    "base": "base_model",
    "full": "full",
    "lora-pro": "lora_pro",
    "lora-sb": "lora_sb",
    "lora-sb-noise": "lora_sb_noise",
    "lora-xs": "lora_xs",
    "peft": "peft_method",
}


def method_names() -> list[str]:
    """The registered methods."""
    return sorted(_METHODS)


def get_method(name: str) -> type[Method]:
    """The class of a method.

    Raises
    ------
    UserError
        If no method has that name.
    """
    if name not in _METHODS:
        raise UserError(unknown("method", name, method_names()))
    method: type[Method] = import_module(f"lorasb.methods.{_METHODS[name]}").METHOD
    return method


def variant_method(variant: str) -> Method:
    """The method of a variant with the arguments that it fixes."""
    data = load_variant(variant)
    return get_method(data["method"])(**data.get("arguments", {}))
