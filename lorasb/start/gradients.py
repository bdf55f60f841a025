"""The gradient of full fine-tuning at the base model, for the weights that are to be adapted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError, remake
from lorasb.files import atomic, load_tensors
from lorasb.models.layers import Linear, matching_modules

IGNORED = -100  # label of tokens that have no loss
FLOAT32_BYTES = 4

Batch = dict[str, Tensor]
Reduction = Literal["sample-sum", "batch-mean"]


def estimate_gradients(
    model: PreTrainedModel,
    dataloader: Iterable[Mapping[str, Tensor]],
    *,
    target_modules: Sequence[str],
    num_samples: int,
    memory_limit_bytes: int | None = None,
    dropout: bool = False,
    reduction: Reduction = "sample-sum",
) -> dict[str, Tensor]:
    """Gradient of the loss at the target weights, from the first `num_samples` samples.

    "sample-sum" is the sum of the samples' own gradients (arXiv 2411.19557, section 3). A sample's
    loss is the mean over its label tokens for a causal language model, the cross entropy for a
    classifier, the squared error where there is one output. It does not depend on the batch size.
    "batch-mean" is what the authors' code sums: the mean loss over a batch's label tokens, divided
    by the number of its samples.

    `dataloader` yields batches with `labels` and the model's inputs. `memory_limit_bytes` bounds
    the gradients held at once: less memory costs more passes over the same samples and gives the
    same numbers. `dropout` switches the model's own dropout on.

    Returns float32 tensors (out, in) on the CPU under the modules' names in the model. The model is
    left as it was found, and so is the state of the random generators.

    Raises
    ------
    UserError
        If a target matches nothing, samples are too few or have no label, the limit is too small
        for one weight, or a loss or gradient is missing or not finite; names the module.
    """
    modules = matching_modules(model, target_modules)
    passes = _passes(modules, memory_limit_bytes)
    with _fork_rng(model):
        batches = list(_first_samples(dataloader, num_samples))
    gradients: dict[str, Tensor] = {}
    progress = tqdm(total=len(passes) * num_samples, desc="gradient", file=sys.stderr, disable=None)
    with progress, _preserved(model), torch.enable_grad():
        model.train(dropout)
        model.requires_grad_(False)
        for group in passes:
            # each pass starts from the same random state: the same dropout masks
            with _fork_rng(model), _collected(group) as collected:
                for batch in batches:
                    _backward(model, batch, reduction)
                    progress.update(len(batch["labels"]))
            gradients |= _finished(group, collected)
    return gradients


def save_gradients(
    gradients: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write gradients as safetensors, float32, with `metadata` in the header."""
    tensors = {name: value.float().contiguous() for name, value in gradients.items()}
    with atomic(path) as partial:
        save_file(tensors, partial, dict(metadata or {}))


def load_gradients(path: Path | str) -> dict[str, Tensor]:
    """Read what `save_gradients` wrote.

    Raises
    ------
    UserError
        If the file is missing or damaged, or one is no matrix, not finite, or zero.
    """
    gradients = load_tensors(path)
    if not gradients:
        raise UserError(f"{path}: no gradient in it; {remake(path)}")
    for name, gradient in gradients.items():
        for what, wrong in (
            ("is no matrix", gradient.ndim != 2),
            ("is not finite", not gradient.isfinite().all()),
            ("is zero", not gradient.any()),
        ):
            if wrong:
                raise UserError(f"{path}: the gradient of {name} {what}; {remake(path)}")
    return gradients


def _passes(modules: Mapping[str, Linear], limit: int | None) -> list[dict[str, Linear]]:
    """Groups of modules, in order, whose gradients fit into the limit together."""
    if limit is None:
        return [dict(modules)]
    groups: list[dict[str, Linear]] = []
    free = 0
    for name, module in modules.items():
        needed = FLOAT32_BYTES * module.weight.numel()
        if needed > limit:
            raise UserError(
                f"memory_limit_bytes {limit}: the gradient of {name} alone needs {needed} bytes"
            )
        if not groups or needed > free:
            groups.append({})
            free = limit
        groups[-1][name] = module
        free -= needed
    return groups


def _first_samples(dataloader: Iterable[Mapping[str, Tensor]], num_samples: int) -> Iterator[Batch]:
    if num_samples < 1:
        raise UserError(f"num_samples {num_samples}: at least 1 is needed")
    missing = num_samples
    for batch in dataloader:
        if "labels" not in batch:
            raise UserError(f"the batches have no 'labels', only: {', '.join(batch)}")
        taken = {key: value[:missing] for key, value in batch.items()}
        missing -= len(taken["labels"])
        yield taken
        if not missing:
            return
    raise UserError(
        f"num_samples {num_samples}: the dataloader has only {num_samples - missing} samples"
    )


def batch_loss(
    model: PreTrainedModel, batch: Mapping[str, Tensor], reduction: Reduction = "sample-sum"
) -> Tensor:
    """The loss whose gradient `estimate_gradients` takes, of one batch: a number, float32.

    Raises
    ------
    UserError
        If it is not finite, or if a sample has no label token.
    """
    inputs = {key: value.to(model.device) for key, value in batch.items()}
    labels = inputs.pop("labels")
    logits = model(**inputs).logits.float()
    losses, samples = (
        _causal_lm_losses(logits, labels) if logits.ndim == 3 else _head_losses(logits, labels)
    )
    if reduction == "sample-sum":
        counts = torch.bincount(samples, minlength=len(labels))
        loss = (losses / counts[samples]).sum()
    else:
        loss = losses.mean() / len(labels)
    if not torch.isfinite(loss):
        raise UserError(f"gradient estimate: the loss is {loss.item()}")
    return loss


def _backward(model: PreTrainedModel, batch: Batch, reduction: Reduction) -> None:
    loss = batch_loss(model, batch, reduction)
    if loss.requires_grad:
        torch.autograd.backward(loss)


def _causal_lm_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each label token, predicted from the tokens before it, and its sample's index."""
    labels = labels[:, 1:]
    labelled = labels != IGNORED
    if not labelled.any(dim=1).all():
        raise UserError("gradient estimate: a sample has no label token; was its answer cut off?")
    losses = F.cross_entropy(logits[:, :-1][labelled], labels[labelled], reduction="none")
    return losses, labelled.nonzero()[:, 0]


def _head_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each sample, and its index."""
    samples = torch.arange(len(labels), device=labels.device)
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels.float(), reduction="none"), samples
    return F.cross_entropy(logits, labels, reduction="none"), samples


@contextmanager
def _collected(modules: Mapping[str, Linear]) -> Iterator[dict[str, Tensor]]:
    """Sum up gradients in float32 as backward makes them, and free each at once."""
    sums: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[Tensor], None]:
        def take(weight: Tensor) -> None:
            assert weight.grad is not None  # what the hook is called for
            gradient, weight.grad = weight.grad.float(), None
            if name in sums:
                sums[name] += gradient
            else:
                sums[name] = gradient

        return take

    with ExitStack() as stack:
        for name, module in modules.items():
            module.weight.requires_grad_(True)
            stack.callback(module.weight.requires_grad_, False)
            handle = module.weight.register_post_accumulate_grad_hook(hook(name))
            stack.callback(handle.remove)
        yield sums


def _finished(modules: Mapping[str, Linear], sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums as (out, in) on the CPU, checked."""
    finished = {}
    for name, module in modules.items():
        if name not in sums:
            raise UserError(f"gradient estimate: the loss does not depend on {name}")
        gradient = sums.pop(name)
        if not torch.isfinite(gradient).all():
            raise UserError(f"gradient estimate: the gradient of {name} is not finite")
        oriented = gradient.T if isinstance(module, Conv1D) else gradient
        finished[name] = oriented.contiguous().cpu()
    return finished


@contextmanager
def _preserved(model: nn.Module) -> Iterator[None]:
    """Give modules back their modes, and parameters their `requires_grad` and `.grad`."""
    modes = [(module, module.training) for module in model.modules()]
    states = [(weight, weight.requires_grad, weight.grad) for weight in model.parameters()]
    for weight, _, _ in states:
        weight.grad = None
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, requires_grad, gradient in states:
            weight.requires_grad_(requires_grad)
            weight.grad = gradient


def _fork_rng(model: PreTrainedModel) -> AbstractContextManager[None]:
    devices = {weight.device for weight in model.parameters() if weight.is_cuda}
    return torch.random.fork_rng(devices=sorted(devices, key=str))
