"""Any method that PEFT has, by the name of its config class: a YAML file and no Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasb.errors import UserError
from lorasb.files import read_json, write_json
from lorasb.methods.base import Context, Method, Network

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from lorasb.counts import Counts


class PeftMethod(Method):
    """A PEFT tuner. Arguments: `config` (class name), `options`, `counts` (closed form)."""

    def peft_config(self, context: Context) -> PeftConfig:
        """The tuner's configuration for one cell."""
        import peft

        name = self.arguments["config"]
        if not hasattr(peft, name):
            raise UserError(f"arguments.config: PEFT has no class '{name}'")
        options = {
            key: context.rank if value == "rank" else value
            for key, value in self.arguments.get("options", {}).items()
        }
        try:
            return getattr(peft, name)(**shared_options(context), **options)
        except TypeError as error:
            raise UserError(f"arguments.options: {name}: {error}") from error

    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """Wrap the model; what the tuner draws at random comes from the cell's seed."""
        import peft
        import torch

        from lorasb.seeding import derive_seed

        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(context.seed, "adapter"))
            return peft.get_peft_model(model, self.peft_config(context))

    def save(self, model: Network, folder: Path) -> None:
        """Write `adapter_model.safetensors` and `adapter_config.json` as PEFT does."""
        model.save_pretrained(folder)
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
        from safetensors import SafetensorError

        try:
            return peft.PeftModel.from_pretrained(model, folder)
        except (ValueError, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: no readable adapter ({reason}); train again") from error

    def updates(self, model: Network, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tuner's own delta of each adapted weight."""
        layers = dict(model.get_base_model().named_modules())
        return {name: layers[name].get_delta_weight("default").detach().float() for name in base}

    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """The closed form that the YAML names."""
        from lorasb import counts

        return counts.family(self.arguments["counts"])(shapes, rank)


def shared_options(context: Context) -> dict[str, Any]:
    """The options that every tuner is given: what is adapted, and what is trained besides."""
    return {
        "target_modules": context.target_modules,
        "modules_to_save": context.task_head or None,
    }


METHOD = PeftMethod
