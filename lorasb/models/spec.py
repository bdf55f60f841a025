"""A base model as `config/models/{slug}.yaml` describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from lorasb.config.read import load_model_config
from lorasb.errors import UserError

if TYPE_CHECKING:
    import torch

Kind = Literal["generation", "classification", "regression"]


DTYPES = ("float32", "bfloat16")
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ModelSpec:
    """A base model as `config/models/{slug}.yaml` has it; `config/README.md` explains the keys."""

    label: str
    hub_id: str | None
    path: str | None
    revision: str | None
    dtype: str
    architecture: str | None
    kinds: Sequence[Kind]
    target_modules: Sequence[str] | str
    task_head: Sequence[str]
    pickled_weights: bool = False

    @classmethod
    def load(cls, name: str) -> ModelSpec:
        """The model of `config/models/{name}.yaml`."""
        return cls.from_config(load_model_config(name))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelSpec:
        """Build it from the mapping that the YAML file holds."""
        known = {field.name for field in fields(cls)}
        spec = cls(**{name: value for name, value in config.items() if name in known})
        if (spec.hub_id is None) == (spec.path is None):
            raise UserError(
                f"model {spec.label}: give either hub_id or path and set the other to null"
            )
        if spec.dtype not in DTYPES:
            raise UserError(
                f"model {spec.label}: unknown dtype '{spec.dtype}'; known: {', '.join(DTYPES)}"
            )
        spec._check_expression()
        return spec

    def _check_expression(self) -> None:
        if isinstance(self.target_modules, str):
            try:
                re.compile(self.target_modules)
            except re.error as error:
                raise UserError(
                    f"model {self.label}: target_modules '{self.target_modules}' is no regular "
                    f"expression: {error}; give names of layers as a list"
                ) from error

    @property
    def source(self) -> str:
        """Where the weights come from: a folder or a hub id."""
        return str(self.path or self.hub_id)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the base weights."""
        import torch

        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def head_modules(self, kind: Kind) -> list[str]:
        """Modules started anew and trained besides the adapter; none for generation."""
        if kind not in self.kinds:
            raise UserError(
                f"model {self.label} cannot do {kind}; it does: {', '.join(self.kinds)}"
            )
        return [] if kind == "generation" else list(self.task_head)
