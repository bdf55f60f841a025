"""What a variant may tell a config class of PEFT, known without loading PEFT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lorasb.config.read import unknown
from lorasb.errors import UserError
from lorasb.kept import kept

RANK = "rank"  # stands for the cell's rank
SEED = "seed"  # stands for a seed that follows from the cell's
STEPS = "steps"  # stands for the number of training steps
# a word, or a number and a word: a multiple, rounded
_VALUE = re.compile(rf"(?:(\d+(?:\.\d+)?) )?({RANK}|{SEED}|{STEPS})")
# starts that PEFT makes of data: without them it refuses, or draws another start
OF_DATA = {"corda", "eva", "lora_ga"}
# what is trained besides or in place of a model's targets, which counts do not know
SET_ELSEWHERE = {
    *("target_modules", "target_parameters", "trainable_token_indices"),
    *("modules_to_save", "inference_mode", "layer_replication"),
}


def refuse_options(config: str, options: Mapping[str, Any]) -> None:
    """Refuse what a config class of PEFT does not take, or what no adapter can be trained with.

    Raises
    ------
    UserError
        If PEFT has no such class or the class no such argument, if a value has the wrong type or
        lets an adapter do nothing, or if nothing takes the cell's rank though the class has one.
    """
    classes = config_classes()
    tuners = [name for name, one in classes.items() if "peft_type" in one]
    if config not in tuners:
        raise UserError(f"arguments.config: {unknown('class of PEFT', config, sorted(tuners))}")
    known = classes[config]
    _refuse_values(known, options, "arguments.options")
    for name, value in options.items():
        if isinstance(value, dict):  # a configuration inside
            for inner in classes.keys() & set(re.findall(r"\w+Config", known[name])):
                _refuse_values(classes[inner], value, f"arguments.options.{name}")
    if "r" in known and not takes_rank(options):
        raise UserError(
            f"arguments.options: none but alpha is the word '{RANK}', which stands for the rank of "
            f"a cell; all ranks would train the same, so write r: {RANK}"
        )


def takes_rank(options: Mapping[str, Any]) -> bool:
    """Whether an option besides alpha is the word that stands for the cell's rank."""
    return any(word(value) == RANK for name, value in options.items() if "alpha" not in name)


def word(value: Any) -> str | None:
    """The word that a value is, or is a multiple of."""
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    return found[2] if found else None


def with_values(options: Mapping[str, Any], values: Mapping[str, int]) -> dict[str, Any]:
    """The options, with a cell's values in place of words."""
    return {key: _with_value(value, values) for key, value in options.items()}


def _with_value(value: Any, values: Mapping[str, int]) -> Any:
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return value
    number = values[found[2]]
    return round(float(found[1]) * number) if found[1] else number


def _refuse_values(known: Mapping[str, str], options: Mapping[str, Any], where: str) -> None:
    for name, value in options.items():
        if name not in known:
            raise UserError(f"{where}: {unknown('argument', name, sorted(known))}")
        fault = _misfit(known[name], value) or _no_use(name, value)
        if fault and word(value) is None:
            raise UserError(f"{where}.{name}: {value!r} {fault}")


def config_classes() -> dict[str, dict[str, str]]:
    """PEFT's config classes, those inside others too: name -> argument -> its annotation."""
    found: dict[str, dict[str, str]] = kept("peft-config-classes", None, _find)
    return found


def _find() -> dict[str, dict[str, str]]:
    from dataclasses import fields, is_dataclass

    import peft
    import peft.tuners.lora

    classes = {
        name: one
        for module in (peft, peft.tuners.lora)
        for name, one in vars(module).items()
        if isinstance(one, type) and is_dataclass(one) and name.endswith("Config")
    }
    return {
        name: {
            field.name: field.type if isinstance(field.type, str) else field.type.__name__
            for field in fields(one)
            if field.init
        }
        for name, one in classes.items()
    }


def _misfit(annotation: str, value: Any) -> str | None:
    """What a value of another type than its argument's should be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if annotation == "bool" and not isinstance(value, bool):
        return "should be true or false"
    if annotation in {"int", "float"} and not number:
        return f"should be a number, or the word {RANK}"
    if annotation.startswith("Literal[") and repr(value) not in annotation:
        return f"should be one of {annotation.removeprefix('Literal')}"
    return None


def _no_use(name: str, value: Any) -> str | None:
    """Why nothing would be trained, or something else than is counted."""
    numbers = value.values() if isinstance(value, dict) else [value]
    numbers = [number for number in numbers if isinstance(number, int | float)]
    if name in SET_ELSEWHERE:
        return "is for a model's file to say, for all methods alike; leave it out"
    if name == "init_lora_weights" and str(value).lower() in OF_DATA:
        return "needs data first, which a method of that name brings; name it in place of peft"
    if "alpha" in name and any(number <= 0 for number in numbers):
        return "would let the adapter do nothing; it should be above 0"
    if "dropout" in name and not all(0 <= number < 1 for number in numbers):
        return "should be at least 0 and below 1"
    return None
