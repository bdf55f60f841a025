"""Optimisers of PEFT, by the names of the functions that make them: `create_{name}_optimizer`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lorasb.config.read import Data, unknown
from lorasb.errors import UserError, one_line
from lorasb.kept import kept

if TYPE_CHECKING:
    import torch

    from lorasb.methods.method import Network

# what a cell, the loop or the adapter's configuration gives
GIVEN = {"model", "optimizer_cls", "lr", "weight_decay", "r", "lora_alpha", "use_rslora", "kwargs"}


def optimizers() -> dict[str, list[str]]:
    """PEFT's optimisers: name -> the arguments of the function that makes it."""
    found: dict[str, list[str]] = kept("peft-optimizers", None, _find)
    return found


def refuse_optimizer(argument: Data) -> None:
    """Refuse an optimiser that PEFT does not have, or an argument that it does not take.

    Raises
    ------
    UserError
        If there is one.
    """
    where, known = "arguments.optimizer", optimizers()
    name = argument.get("name", "")
    if name not in known:
        raise UserError(f"{where}.name: {unknown('optimiser of PEFT', str(name), sorted(known))}")
    own = sorted(set(known[name]) - GIVEN)
    for key, value in argument.items():
        if key == "name":
            continue
        if key not in own:
            raise UserError(f"{where}: {unknown('argument', key, own)}")
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise UserError(f"{where}.{key}: {value!r} should be a number above 0")


def make_optimizer(
    argument: Data, model: Network, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimiser of that name, around AdamW where it takes a class.

    Raises
    ------
    UserError
        If it does not go with the model's adapter.
    """
    import peft.optimizers
    import torch

    name = argument["name"]
    taken, config = optimizers()[name], model.peft_config["default"]
    given = {"model": model, "lr": learning_rate, **argument}
    del given["name"]
    if "optimizer_cls" in taken:
        given["optimizer_cls"] = torch.optim.AdamW
    given |= {key: getattr(config, key) for key in ("r", "lora_alpha") if key in taken}
    # LoRA+ has a name of its own for it
    given["loraplus_weight_decay" if name == "loraplus" else "weight_decay"] = weight_decay
    try:
        made: torch.optim.Optimizer = getattr(peft.optimizers, f"create_{name}_optimizer")(**given)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"arguments.optimizer: {name}: {one_line(error)}") from error
    return made


def _find() -> dict[str, list[str]]:
    import inspect

    import peft.optimizers

    return {
        found[1]: list(inspect.signature(function).parameters)
        for key, function in vars(peft.optimizers).items()
        if (found := re.fullmatch(r"create_(\w+)_optimizer", key))
    }
