"""Any method that PEFT has, by the name of its config class: a YAML file and no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.errors import UserError, one_line, remake
from lorasb.files import read_json, write_json
from lorasb.methods.counts import FAMILIES
from lorasb.methods.method import Context, Method, Network
from lorasb.methods.peft.optimizers import make_optimizer, refuse_optimizer
from lorasb.methods.peft.options import (
    RANK,
    SEED,
    STEPS,
    refuse_options,
    takes_rank,
    with_values,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from lorasb.methods.counts import Counts
    from lorasb.methods.hooks import StepHook

# what the argument `counts` says where no closed form is worth it
BUILT = "built"
# options of PEFT's configurations that leave out some of the layers that targets name
LEAVE_OUT = ("exclude_modules", "layers_to_transform", "layers_pattern")


class PeftMethod(Method):
    """A PEFT tuner. Arguments: `config` (class name), `options`, `counts`, `optimizer`.

    `counts` is a closed form, or "built": counted in a tuner around weights of the same shapes.
    `optimizer` has the `name` of one of PEFT's and its arguments; AdamW without it.
    """

    keys: ClassVar = {
        "config": {"type": "string"},
        "options": {"type": "object"},
        "counts": {"enum": [*FAMILIES, BUILT]},
        "optimizer": {"type": "object", "default": {}},
    }
    # PEFT's name of a start that the method makes of data, which the options cannot name
    init: ClassVar[str | None] = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if "config" in arguments:
            refuse_options(arguments["config"], self.options)
            self.has_rank = takes_rank(self.options)
        if arguments.get("optimizer"):
            refuse_optimizer(arguments["optimizer"])

    @property
    def options(self) -> dict[str, Any]:
        """What the YAML tells PEFT's config class; words stand for numbers of the cell."""
        return dict(self.arguments.get("options", {}))

    def peft_config(self, context: Context) -> PeftConfig:
        """The tuner's configuration for one cell."""
        import peft

        from lorasb.seeding import derive_seed

        name = self.arguments["config"]
        # libraries below PEFT take 32 bits
        seed = derive_seed(context.seed, "adapter") % 2**32
        values = {RANK: context.rank, SEED: seed, STEPS: context.steps}
        options = with_values(self.options, values)
        try:
            config = getattr(peft, name)(**shared_options(context), **options)
        except (TypeError, ValueError) as error:
            raise UserError(f"arguments.options: {name}: {error}") from error
        if self.init:
            config.init_lora_weights = self.init
        return config

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Wrap the model; what the tuner draws at random comes from the cell's seed.

        Raises
        ------
        UserError
            If something besides adapters and task head would be trained in fewer bits than float32,
            if the rank is above a weight, or if a target matches no layer.
        """
        import torch

        from lorasb.methods.peft.dora import guard_zero_rows
        from lorasb.methods.peft.hooks import freeze_counters
        from lorasb.models.layers import target_shapes
        from lorasb.models.precision import lower
        from lorasb.seeding import derive_seed

        shapes = target_shapes(model, context.target_modules, context.task_head)
        self.count(shapes, context.rank, 0)  # refuses a rank that does not fit
        self.hold(model, context.task_head)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(context.seed, "adapter"))
            adapted = self.wrap(model, context)
        if short := lower(adapted, trained=True):
            raise UserError(
                f"arguments.options: they train {short[0]} in fewer bits than float32, which loses "
                "most updates; take a model of dtype float32"
            )
        guard_zero_rows(adapted)
        freeze_counters(adapted)
        if self.arguments.get("optimizer"):
            self.optimizer(adapted, 1.0, 0.0)  # one that trains less than all freezes the rest
        return adapted

    def hold(self, model: PreTrainedModel, head: Sequence[str]) -> None:
        """Make what is trained of the model's own modules, such as its task head, float32."""
        from lorasb.models.precision import hold_in_float32

        hold_in_float32(model, head)

    def wrap(self, model: PreTrainedModel, context: Context) -> Network:
        """The model with an adapter at its start."""
        import peft

        from lorasb.methods.peft.moved_start import attach_moved

        wrap = attach_moved if self.moves_start else peft.get_peft_model
        return wrap(model, self.peft_config(context))

    @property
    def moves_start(self) -> bool:
        """Whether the start of A and B is taken out of the base weight."""
        from lorasb.methods.peft.moved_start import starts_in_weight

        named = {"init_lora_weights": self.init} if self.init else {}
        return starts_in_weight(self.options | named)

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """The one that the YAML names, else AdamW."""
        given = self.arguments.get("optimizer")
        if not given:
            return super().optimizer(model, learning_rate, weight_decay)
        return make_optimizer(given, model, learning_rate, weight_decay)

    def hooks(self, model: Network) -> list[StepHook]:
        """What the tuner needs at each step."""
        from lorasb.methods.peft.hooks import step_hooks

        return step_hooks(model)

    def penalty(self, model: Network) -> torch.Tensor | None:
        """What the tuner adds to the loss and PEFT does not."""
        from lorasb.methods.peft.hooks import penalty

        return penalty(model)

    def save(self, model: Network, folder: Path) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json`, which PEFT reads."""
        from lorasb.methods.peft.moved_start import save_start

        model.save_pretrained(folder)
        if self.moves_start:
            save_start(model, folder)
        # PEFT writes sets in an order that differs from process to process
        config = read_json(folder / "adapter_config.json")
        sets = {"target_modules", "exclude_modules"}
        write_json(
            folder / "adapter_config.json",
            {
                key: sorted(value) if key in sets and isinstance(value, list) else value
                for key, value in config.items()
            },
        )

    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """Read the adapter back."""
        import peft

        from lorasb.methods.peft.dora import guard_zero_rows
        from lorasb.methods.peft.moved_start import load_moved
        from lorasb.methods.saved import load_saved, refuse_other_names

        weights = folder / "adapter_model.safetensors"
        if not weights.exists():  # PEFT would look for the folder's name on the hub
            raise UserError(f"{folder}: no readable adapter (no {weights.name}); {remake(folder)}")
        tensors = load_saved(weights)
        read = load_moved if self.moves_start else peft.PeftModel.from_pretrained
        try:
            self.hold(model, peft.PeftConfig.from_pretrained(folder).modules_to_save or [])
            adapted = read(model, folder)
        except (UserError, ValueError, OSError, KeyError, RuntimeError, TypeError) as error:
            raise UserError(
                f"{folder}: no readable adapter ({one_line(error)}); {remake(folder)}"
            ) from error
        refuse_other_names(weights, tensors, peft.get_peft_model_state_dict(adapted).keys())
        guard_zero_rows(adapted)
        return adapted

    def updates(self, model: Network, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Merged weight minus the weight before; float64 until the difference is taken.

        Each layer is merged as a copy, so that the model keeps its bits.
        """
        import copy
        from collections import OrderedDict

        import torch

        from lorasb.models.layers import oriented_weight

        layers = dict(model.get_base_model().named_modules())
        found = {}
        for name, weight in base.items():
            if not hasattr(layers[name], "merge"):  # left out by the options
                found[name] = torch.zeros_like(weight, dtype=torch.float32)
                continue
            with torch.no_grad():
                # the hooks of its modules, nearly all of what there is to copy, are shared
                memo = {
                    id(value): value
                    for module in layers[name].modules()
                    for value in vars(module).values()
                    if isinstance(value, OrderedDict)
                }
                layer = copy.deepcopy(layers[name], memo).double()
                layer.merge()
            merged = oriented_weight(layer.get_base_layer())
            found[name] = (merged - weight.to(merged)).float()
        return found

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """The closed form that the YAML names, or what a tuner around such weights has."""
        from lorasb.methods import counts
        from lorasb.methods.peft.built import count_built

        if self.arguments["counts"] == BUILT:
            return count_built(self, self.adapted(shapes), rank)
        return counts.family(self.arguments["counts"])(self.adapted(shapes), rank)

    def adapted(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Those of the model's adapted weights that the options do not leave out."""
        given = {**self.arguments, **self.options}
        if not any(given.get(key) for key in LEAVE_OUT):
            return dict(shapes)
        from types import SimpleNamespace

        from peft.tuners.tuners_utils import check_target_module_exists

        rule = SimpleNamespace(
            target_modules={name.rpartition(".")[2] for name in shapes},
            **{key: given.get(key) for key in LEAVE_OUT},
        )
        return {n: shape for n, shape in shapes.items() if check_target_module_exists(rule, n)}


def shared_options(context: Context) -> dict[str, Any]:
    """The options that every tuner is given: what is adapted, and what is trained besides."""
    return {
        "target_modules": context.target_modules,
        "modules_to_save": context.task_head or None,
    }


METHOD = PeftMethod
