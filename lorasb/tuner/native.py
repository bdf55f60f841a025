"""transformers' own `load_adapter`, as strict about files of `lora_xs` as PEFT's loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from transformers import PreTrainedModel
from transformers.integrations.peft import PeftAdapterMixin

from lorasb.tuner.layer import LOADING
from lorasb.tuner.model import FINGERPRINT, LoraXSModel, layers_of, refuse_other_keys, take_out


def make_native_loading_strict() -> None:
    """Let `load_adapter` refuse what of itself it lists in a report, and goes on with.

    That are tensors of a `lora_xs` adapter that a file lacks or has too many, and an adapter that
    was trained with other bases than those here (UserError); it is then taken out of the model.
    Other methods' adapters are loaded as ever.
    """
    PeftAdapterMixin.load_adapter = _strict(PeftAdapterMixin.load_adapter)


def _strict(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def load_adapter(
        self: PreTrainedModel,
        peft_model_id: str | None = None,
        adapter_name: str | None = None,
        *arguments: Any,
        **options: Any,
    ) -> Any:
        name = adapter_name or "default"
        new = name not in getattr(self, "peft_config", {})
        token = LOADING.set(True)
        try:
            info = load(self, peft_model_id, adapter_name, *arguments, **options)
            layers = layers_of(self, name)
            if layers:
                refuse_other_keys(_own(info.missing_keys, name), _own(info.unexpected_keys, name))
            for layer in layers:
                layer.end_loading(name)
        except Exception:
            if new and layers_of(self, name):
                take_out(self, name)
                self.delete_adapter(name)
            raise
        finally:
            LOADING.reset(token)
        return info

    return load_adapter


def _own(keys: Iterable[str], name: str) -> set[str]:
    """Those of the adapter among all adapters'; files had no fingerprint once."""
    own = {key for key in keys if f".{LoraXSModel.prefix}" in key and key.endswith(f".{name}")}
    return {key for key in own if FINGERPRINT not in key}
