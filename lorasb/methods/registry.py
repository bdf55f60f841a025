"""From a name to a method, and from a variant's name to a method with its arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lorasb.config import read as config
from lorasb.errors import UserError, one_line
from lorasb.methods.method import NEEDS_SAMPLES, Method

# entry points of other packages: name -> a subclass of Method
GROUP = "lorasb.methods"
# name -> module of lorasb.methods that has the class `METHOD`
_METHODS = {
    "base": "untrained",
    "corda": "corda",
    "eva": "eva",
    "flat-lora": "flat_lora",
    "flora": "flora.method",
    "full": "full",
    "gelora": "gelora",
    "ln-tuning": "ln_tuning",
    "lora-ga": "lora_ga",
    "lora-ga-peft": "lora_ga_peft",
    "lora-one": "lora_one",
    "lora-pro": "lora_pro.method",
    "lora-sb": "lora_sb",
    "lora-sb-gradient": "lora_sb_gradient",
    "lora-sb-noise": "lora_sb_noise",
    "lora-xs": "lora_xs",
    "peft": "peft.method",
    "runlora": "runlora",
    "sora": "sora",
    "xgblora": "xgblora",
}


@dataclass(frozen=True)
class Variant:
    """A method with fixed arguments, as a file in `config/methods/` has it."""

    name: str
    label: str
    method_name: str
    arguments: config.Data
    # training samples of its start; None: as many as the study says
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
    """The methods here, and those of installed packages."""
    return sorted({*_METHODS, *(point.name for point in _points())})


def get_method(name: str) -> type[Method]:
    """The class of a method.

    Raises
    ------
    UserError
        If no method has that name, or several have, or a package's is none.
    """
    points = [point for point in _points() if point.name == name]
    if len(points) + (name in _METHODS) > 1:
        others = ", ".join(sorted(point.value for point in points))
        raise UserError(f"method '{name}': more than one has that name: {others}; rename one")
    if name in _METHODS:
        method: type[Method] = import_module(f"lorasb.methods.{_METHODS[name]}").METHOD
        return method
    if not points:
        raise UserError(config.unknown("method", name, method_names()))
    return _of_package(points[0])


@cache
def _points() -> list[EntryPoint]:
    """Each once: a package that is on the path twice has its entry points twice."""
    return list(dict.fromkeys(entry_points(group=GROUP)))


def _of_package(point: EntryPoint) -> type[Method]:
    """The class that an entry point names."""
    where = f"method '{point.name}', the entry point {point.value}"
    try:
        found: type[Method] = point.load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}: {one_line(error)}; it should name a class") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"{where}: no subclass of lorasb.methods.method.Method")
    return found


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
        if samples is not None and not method.needs & NEEDS_SAMPLES:
            raise UserError(
                f"samples: the method '{data['method']}' starts from no samples; remove the key"
            )
    except UserError as error:
        raise UserError(f"{config.variant_file(name)}: {name}: {error}") from error
    rates = tuple(data.get("rates", ()))
    return Variant(name, data["label"], data["method"], arguments, samples, rates, method)
