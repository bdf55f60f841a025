"""LoRA-SB and LoRA-XS as a PEFT method, and the benchmark around them.

Names are imported when they are used, so that `import lorasb` costs nothing. Once PEFT is imported,
before or after, it knows the method `lora_xs`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorasb.start.estimate import estimate_factors
    from lorasb.start.fill import initialize_lora_sb, initialize_lora_xs
    from lorasb.start.gradients import estimate_gradients, load_gradients, save_gradients
    from lorasb.start.recipe import load_recipe, save_recipe
    from lorasb.start.weights import weight_factors
    from lorasb.tuner import LoraXSConfig
    from lorasb.tuner.export import export_lora

__version__ = "0.1.0"

__all__ = [
    "LoraXSConfig",
    "estimate_factors",
    "estimate_gradients",
    "export_lora",
    "initialize_lora_sb",
    "initialize_lora_xs",
    "load_gradients",
    "load_recipe",
    "save_gradients",
    "save_recipe",
    "weight_factors",
]

_MODULES = {
    "LoraXSConfig": "lorasb.tuner",
    "estimate_factors": "lorasb.start.estimate",
    "estimate_gradients": "lorasb.start.gradients",
    "export_lora": "lorasb.tuner.export",
    "initialize_lora_sb": "lorasb.start.fill",
    "initialize_lora_xs": "lorasb.start.fill",
    "load_gradients": "lorasb.start.gradients",
    "load_recipe": "lorasb.start.recipe",
    "save_gradients": "lorasb.start.gradients",
    "save_recipe": "lorasb.start.recipe",
    "weight_factors": "lorasb.start.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lorasb' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


class _AfterPeft:
    """Imports the tuner as soon as PEFT is imported; to ask where PEFT is changes nothing."""

    _asking = False

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where PEFT is, from the finders that follow; None for all else."""
        if name != "peft" or self._asking:
            return None
        self._asking = True
        try:
            found = find_spec(name)
        finally:
            self._asking = False
        if found is not None and found.loader is not None:
            execute = found.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                import_module("lorasb.tuner")

            found.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return found


if "peft" in sys.modules:
    import_module("lorasb.tuner")
else:
    sys.meta_path.insert(0, _AfterPeft())
