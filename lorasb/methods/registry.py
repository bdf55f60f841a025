"""From a name to a method, and from a variant's name to a method with its arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.methods.method import NEEDS_GRADIENT

if TYPE_CHECKING:
    from lorasb.methods.method import Method

# name -> module of lorasb.methods that has the class `METHOD`
_METHODS = {
    "base": "untrained",
    "full": "full",
    "lora-pro": "lora_pro.method",
    "lora-sb": "lora_sb",
    "lora-sb-gradient": "lora_sb_gradient",
    "lora-sb-noise": "lora_sb_noise",
    "lora-xs": "lora_xs",
    "peft": "peft.method",
}


@dataclass(frozen=True)
class Variant:
    """A method with fixed arguments, as a file in `config/methods/` has it."""

    name: str
    label: str
    method_name: str
    arguments: config.Data
    # training samples of the gradient; None: as many as the study says
    samples: int | None
    # learning rates that a sweep tries where its study states none
    rates: tuple[str, ...]
    method: Method

    @property
    def description(self) -> dict[str, Any]:
        """What its file says, ready for JSON."""
        return {
            "name": self.name,
            "label": self.label,
            "method": self.method_name,
            "arguments": self.arguments,
            "samples": self.samples,
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
        raise UserError(config.unknown("method", name, method_names()))
    method: type[Method] = import_module(f"lorasb.methods.{_METHODS[name]}").METHOD
    return method


def make_method(name: str, arguments: config.Data) -> Method:
    """The method of that name with these arguments.

    Raises
    ------
    UserError
        If there is none, or if it does not take the arguments.
    """
    kind = get_method(name)
    config.check_keys(arguments, kind.keys, "arguments")
    return kind(**arguments)


def make_variant(name: str) -> Variant:
    """The variant of that name; see `make_variants`."""
    return make_variants([name])[name]


def make_variants(names: Iterable[str]) -> dict[str, Variant]:
    """The variants of these names, their methods made.

    Raises
    ------
    UserError
        If there is none of a name, or if what its file says does not fit its method.
    """
    return {name: _variant(name, data) for name, data in config.load_variants(names).items()}


def _variant(name: str, data: config.Data) -> Variant:
    arguments, samples = data.get("arguments", {}), data.get("samples")
    try:
        method = make_method(data["method"], arguments)
        if samples is not None and not method.needs & NEEDS_GRADIENT:
            raise UserError(
                f"samples: the method '{data['method']}' starts from no gradient; remove the key"
            )
    except UserError as error:
        raise UserError(f"{config.variant_file(name)}: {name}: {error}") from error
    rates = tuple(data.get("rates", ()))
    return Variant(name, data["label"], data["method"], arguments, samples, rates, method)
