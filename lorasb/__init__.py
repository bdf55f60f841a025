"""LoRA-SB and LoRA-XS as a PEFT method, and the benchmark around them.

Names are imported when they are used, so that `import lorasb` costs nothing. Once PEFT is imported,
before or after, it knows the method `lora_xs`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wrapt import when_imported

if TYPE_CHECKING:
    from lorasb.start.estimate import estimate_factors
    from lorasb.start.fill import initialize_lora_sb
    from lorasb.start.gradients import estimate_gradients, load_gradients, save_gradients
    from lorasb.tuner import LoraXSConfig
    from lorasb.tuner.export import export_lora

__version__ = "0.1.0"

__all__ = [
    "LoraXSConfig",
    "estimate_factors",
    "estimate_gradients",
    "export_lora",
    "initialize_lora_sb",
    "load_gradients",
    "save_gradients",
]

_MODULES = {
    "LoraXSConfig": "lorasb.tuner",
    "estimate_factors": "lorasb.start.estimate",
    "estimate_gradients": "lorasb.start.gradients",
    "export_lora": "lorasb.tuner.export",
    "initialize_lora_sb": "lorasb.start.fill",
    "load_gradients": "lorasb.start.gradients",
    "save_gradients": "lorasb.start.gradients",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lorasb' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


when_imported("peft")(lambda _: import_module("lorasb.tuner"))
