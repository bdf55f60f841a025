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
# numbers, of the logits of a pass that keeps none for backward: 0.25 GB in float32; larger passes
# are slower on a processor (docs/performance.md)
LOGITS_AT_ONCE = 2**26


@dataclass(frozen=True)
class Package:
    """A file of a package in a package registry, with its checksum."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """How pip is asked for the package."""
        return f"{self.name}=={self.version}"

    def __str__(self) -> str:
        return f"{self.requirement}/{self.file}"


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
    package: Package | None = None
    attention: str | None = None

    @classmethod
    def load(cls, name: str) -> ModelSpec:
        """The model of `config/models/{name}.yaml`."""
        return cls.from_config(load_model_config(name))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelSpec:
        """Build it from the mapping that the YAML file holds."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in config.items() if name in known}
        if values.get("package") is not None:
            values["package"] = Package(**values["package"])
        spec = cls(**values)
        spec._check_source()
        if spec.dtype not in DTYPES:
            raise UserError(
                f"model {spec.label}: unknown dtype '{spec.dtype}'; known: {', '.join(DTYPES)}"
            )
        spec._check_expression()
        return spec

    def _check_source(self) -> None:
        if [self.hub_id, self.path, self.package].count(None) != 2:
            raise UserError(
                f"model {self.label}: give one of hub_id, path and package, and set the others "
                "to null"
            )
        if self.package is not None and self.revision is not None:
            raise UserError(
                f"model {self.label}: revision is of the hub; a package has a version, so set it "
                "to null"
            )

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
        """Where the weights come from: a folder, a file, a package or a hub id."""
        return str(self.path or self.package or self.hub_id)

    @property
    def is_gguf(self) -> bool:
        """Whether the weights come as one GGUF file."""
        return self.package is not None or str(self.path).endswith(".gguf")

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
