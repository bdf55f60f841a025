"""A model that has adapters, as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel

from lorasb.tuner.layer import LoraXSLayer


@contextmanager
def without_adapters(model: PeftModel) -> Iterator[Any]:
    """The base model with its own layers in place of the adapted ones."""
    base = model.get_base_model()
    adapted = {
        name: module for name, module in base.named_modules() if isinstance(module, LoraXSLayer)
    }
    configs = base.peft_config
    del base.peft_config
    try:
        for name, layer in adapted.items():
            base.set_submodule(name, layer.get_base_layer())
        yield base
    finally:
        for name, layer in adapted.items():
            base.set_submodule(name, layer)
        base.peft_config = configs
