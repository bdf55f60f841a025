"""Configuration of the PEFT method `lora_xs`."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peft.config import PeftConfig
from peft.utils import PeftType
from peft.utils.other import get_pattern_key

from lorasb.errors import UserError
from lorasb.files import atomic

NAME = "LORA_XS"
LOADING = """
## Loading this adapter

`import lorasb` (`pip install lorasb`) teaches PEFT its method; without it, loading ends in
`KeyError: 'LORA_XS'`.

```python
import lorasb
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "folder of this file")
```
"""


def _extend_peft_type() -> None:
    """Add `PeftType.LORA_XS`: PEFT registers only methods that its enumeration has."""
    if NAME in PeftType.__members__:
        return
    member = str.__new__(PeftType, NAME)
    member._name_ = member._value_ = NAME
    # first the attribute: an enumeration refuses to reassign what is in its member map
    setattr(PeftType, NAME, member)
    PeftType._member_names_.append(NAME)
    PeftType._member_map_[NAME] = member
    PeftType._value2member_map_[NAME] = member


_extend_peft_type()


@dataclass
class LoraXSConfig(PeftConfig):  # type: ignore[misc]
    """W = W0 + s B R A (LoRA-XS, arXiv 2405.17604): B, A frozen, R (r, r) trained.

    LoRA-SB (arXiv 2411.19557) is the same adapter, filled by `lorasb.initialize_lora_sb`.

    Raises
    ------
    UserError
        If a value is out of range or not supported, or if `save_bases=False` is combined with
        "empty".
    """

    r: int = field(default=32, metadata={"help": "Rank: R is an r x r matrix."})
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "Names, or ends of names, of the linear layers to adapt; a regular expression; "
            "or 'all-linear'. None: PEFT's choice for LoRA on this architecture."
        },
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Names, or a regular expression, of layers to leave out."}
    )
    target_parameters: list[str] | None = field(
        default=None,
        metadata={
            "help": "Refused: a model computes with experts that are stacked in one parameter past "
            "any layer to which an update could be added."
        },
    )
    scaling: float = field(default=1.0, metadata={"help": "The s in W0 + s B R A."})
    rank_pattern: dict[str, int] = field(
        default_factory=dict,
        metadata={
            "help": "Ranks of layers that have another than r, by their names, ends of names, or "
            "regular expressions of them. The first that matches counts."
        },
    )
    scaling_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "The same for the scaling."}
    )
    dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapter's input."})
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules trained and saved whole, such as a task head."}
    )
    bias: Literal["none", "all", "lora_xs_only"] = field(
        default="none",
        metadata={
            "help": "Biases that are trained and saved: none, all, or those of adapted layers. "
            "They stay changed where the adapter is disabled."
        },
    )
    trainable_token_indices: list[int] | dict[str, list[int]] | None = field(
        default=None,
        metadata={
            "help": "Rows of the embedding that are trained and saved; or a dictionary from the "
            "name of an embedding to its rows."
        },
    )
    ensure_weight_tying: bool = field(
        default=False,
        metadata={"help": "Keep tied weights tied in modules_to_save and trainable tokens."},
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "Indices of the layers to adapt. None: all."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None,
        metadata={"help": "Name of the module list that `layers_to_transform` counts."},
    )
    init_weights: Literal["weights", "empty"] = field(
        default="weights",
        metadata={
            "help": "'weights' (LoRA-XS): B = U, A = S V^T of W0's truncated SVD, "
            "R ~ N(0, 1e-5^2). 'empty': all zero, to be filled; until then training moves nothing."
        },
    )
    seed: int = field(default=0, metadata={"help": "Of R, and of the SVD of large weights."})
    save_bases: bool | None = field(
        default=None,
        metadata={
            "help": "Store B and A with R. None: where they cannot be computed again, in an "
            "adapter that was filled. False: R and a fingerprint of the bases are stored; "
            "loading computes B and A from W0 again, and refuses a W0 that gives others. Needs "
            "'weights'."
        },
    )
    save_dtype: Literal["base", "float32"] = field(
        default="base",
        metadata={"help": "Of stored B and A: that of the base weight, or float32. R is float32."},
    )
    requires: str = field(
        default="import lorasb",
        metadata={"help": "What a script does before PEFT can load the adapter; for its readers."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.LORA_XS
        for name in ("target_modules", "exclude_modules"):
            value = getattr(self, name)
            setattr(self, name, set(value) if isinstance(value, list) else value)
        self._check()

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write the configuration, and tell a model card beside it how the adapter is loaded."""
        super().save_pretrained(save_directory, **kwargs)
        card = Path(save_directory) / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        if LOADING.strip() not in text:
            with atomic(card) as partial:
                partial.write_text(text + LOADING, encoding="utf-8")

    @property
    def stores_bases(self) -> bool:
        """Whether B and A are stored with R."""
        return self.init_weights == "empty" if self.save_bases is None else self.save_bases

    def of_layer(self, name: str) -> LoraXSConfig:
        """This configuration with the rank and the scaling of one layer."""
        own = copy.copy(self)
        own.r = self.rank_pattern.get(get_pattern_key(self.rank_pattern, name), self.r)
        key = get_pattern_key(self.scaling_pattern, name)
        own.scaling = self.scaling_pattern.get(key, self.scaling)
        return own

    def check_patterns(self, names: Iterable[str]) -> None:
        """Refuse a pattern that says nothing about any layer of these names (UserError)."""
        names = list(names)
        for what in ("rank_pattern", "scaling_pattern"):
            pattern = getattr(self, what)
            unused = pattern.keys() - {get_pattern_key(pattern, name) for name in names}
            if unused:
                raise UserError(
                    f"LoraXSConfig: {what} '{min(unused)}' is the first match of no adapted layer; "
                    f"the layers are {names[0]} and {len(names) - 1} others"
                )

    def _check(self) -> None:
        for r in (self.r, *self.rank_pattern.values()):
            if r < 1:
                raise UserError(f"LoraXSConfig: r is {r}; it should be at least 1")
        if 0 in (self.scaling, *self.scaling_pattern.values()):
            raise UserError("LoraXSConfig: scaling is 0, with which the adapter does nothing")
        if self.target_parameters:
            raise UserError(
                f"LoraXSConfig: target_parameters {self.target_parameters}: not supported, as a "
                "model computes with stacked experts past any layer to which an update could be "
                "added; name linear layers in target_modules, and what they should leave out in "
                "exclude_modules"
            )
        if self.bias not in ("none", "all", "lora_xs_only"):
            raise UserError(
                f"LoraXSConfig: bias '{self.bias}' is unknown; known: 'none', 'all', 'lora_xs_only'"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"LoraXSConfig: dropout is {self.dropout}; it should be in [0, 1)")
        if self.init_weights not in ("weights", "empty"):
            raise UserError(
                f"LoraXSConfig: init_weights '{self.init_weights}' is unknown; "
                "known: 'weights', 'empty'"
            )
        if self.save_dtype not in ("base", "float32"):
            raise UserError(
                f"LoraXSConfig: save_dtype '{self.save_dtype}' is unknown; known: 'base', 'float32'"
            )
        if self.save_bases is False and self.init_weights == "empty":
            raise UserError(
                "LoraXSConfig: save_bases=False needs init_weights='weights': "
                "bases that come from elsewhere cannot be computed again"
            )
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise UserError(
                "LoraXSConfig: layers_to_transform needs target_modules as a list of names; "
                "a regular expression names the layers itself"
            )
        if self.layers_pattern and self.layers_to_transform is None:
            raise UserError("LoraXSConfig: layers_pattern needs layers_to_transform")
