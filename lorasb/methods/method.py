"""What a method is: how it changes the model before training, and what it costs.

To add one, write a file with a subclass named `METHOD`, enter it in `lorasb.methods.registry` and
give it a YAML in `config/methods/`. Heavy imports stay inside the functions: the workflow reads
`needs` and `version` without loading torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasb.models.spec import FLOAT32_BYTES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from lorasb.linalg.svd import Factors
    from lorasb.methods.counts import Counts
    from lorasb.methods.hooks import StepHook
    from lorasb.start.factors import Svd

# what a method may need that starts with an estimated gradient
NEEDS_GRADIENT = frozenset({"gradient", "gradient_factors"})
# what a method may need that is made from training samples
NEEDS_SAMPLES = NEEDS_GRADIENT | {"activations"}
# a PreTrainedModel, or the PeftModel around one; neither library has types for them
Network = Any


@dataclass(frozen=True)
class Context:
    """What a method may know of the cell it is applied to."""

    rank: int
    # eta of a start that is a first step
    start_learning_rate: float
    # how a method that decomposes a step itself is to do it
    svd: Svd
    seed: int
    # names of layers, a regular expression of them, or "all-linear", as PEFT has it
    target_modules: Sequence[str] | str
    # modules trained besides the adapted weights; empty for a causal language model
    task_head: list[str]
    # a name of what the workflow computes -> file, as far as the method needs it
    inputs: Mapping[str, Path]
    # optimiser steps of the whole run
    steps: int = 0
    # training samples of what the method starts from
    samples: int = 1

    def factorize(self, matrices: Mapping[str, torch.Tensor], rank: int) -> dict[str, Factors]:
        """SVDs of matrices that the method makes itself, by the cell's kind of SVD and its seed."""
        from lorasb.seeding import generator
        from lorasb.start.factors import factorize

        random = generator(self.seed, "svd")
        return factorize(matrices, rank, step="none", svd=self.svd, generator=random)


class Method(ABC):
    """A way to fine-tune. The training loop knows methods through these members only."""

    # raise it when results would change: all cells of the method run again
    version: ClassVar[int] = 1
    # what the workflow must compute first: "gradient", "gradient_factors", "weight_factors",
    # "activations"
    needs: ClassVar[frozenset[str]] = frozenset()
    has_rank: bool = True
    trains: ClassVar[bool] = True
    # its arguments: name -> JSON schema of the value, with a `default` where it may be left out
    keys: ClassVar[dict[str, Any]] = {}

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    @abstractmethod
    def attach(self, model: PreTrainedModel, context: Context) -> Network:
        """The model to train: exactly what is trained has `requires_grad`."""

    @abstractmethod
    def save(self, model: Network, folder: Path) -> None:
        """Write what `load` needs besides the base model."""

    @abstractmethod
    def load(self, model: PreTrainedModel, folder: Path) -> Network:
        """The trained model, from a base model and a folder written by `save`."""

    @abstractmethod
    def updates(self, model: Network, base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Change of each adapted weight, float32, (out, in); `base` has the weights before it."""

    def fixed_bases(self, model: Network) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Bases between which the change of each adapted weight stays: (out, r) and (in, r).

        Float32, full rank; empty for a method that fixes none.
        """
        return {}

    @abstractmethod
    def count(self, shapes: Mapping[str, tuple[int, int]], rank: int, base_params: int) -> Counts:
        """Closed-form parameter counts for adapted weights of these shapes (out, in)."""

    def bytes_a_number(self, base_bytes: int) -> int:
        """Bytes of a trained number, as of its gradient and moments; the base has `base_bytes`."""
        return FLOAT32_BYTES

    def optimizer(
        self, model: Network, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """AdamW on what `attach` left trainable."""
        import torch

        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)

    def hooks(self, model: Network) -> list[StepHook]:
        """What is done around the steps of training; of a model that `attach` made."""
        return []

    def penalty(self, model: Network) -> torch.Tensor | None:
        """What is added to the loss of each step, a number that depends on the parameters."""
        return None
