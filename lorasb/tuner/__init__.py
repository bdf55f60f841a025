"""The PEFT method `lora_xs`: y = W0 x + s B R A x with frozen B, A and a trained r x r matrix R.

Importing this package makes the method known to PEFT; `import lorasb` does so when PEFT is there.
"""

from __future__ import annotations

from peft.utils import PeftType, register_peft_method

from lorasb.tuner.config import LoraXSConfig
from lorasb.tuner.layer import LoraXSLayer
from lorasb.tuner.model import LoraXSModel
from lorasb.tuner.native import make_native_loading_strict

__all__ = ["LoraXSConfig", "LoraXSLayer", "LoraXSModel"]

register_peft_method(
    name=PeftType.LORA_XS.value.lower(),
    config_cls=LoraXSConfig,
    model_cls=LoraXSModel,
    prefix=LoraXSModel.prefix,
)
make_native_loading_strict()
