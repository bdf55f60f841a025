"""The gradient of full fine-tuning at the base model, for the weights that are to be adapted."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from lorasb.errors import UserError, remake
from lorasb.files import atomic, load_tensors
from lorasb.linalg.svd import all_finite
from lorasb.models.label_logits import IGNORED, SHIFTED, Logits, at_labels
from lorasb.models.layers import Linear, matching_modules, unwrapped
from lorasb.start.offloaded import computing_device, input_device, own_weight, refuse_hollow

if TYPE_CHECKING:
    from peft import PeftConfig

NO_LABEL = "gradient estimate: a sample has no label token; was its answer cut off?"
# to which two ways of adding up the same float32 losses agree
ROUNDING = 1e-5

Batch = dict[str, Tensor]
Reduction = Literal["sample-sum", "batch-mean"]


def estimate_gradients(
    model: PreTrainedModel,
    dataloader: Iterable[Mapping[str, Tensor]],
    *,
    target_modules: Sequence[str] | str | PeftConfig,
    num_samples: int,
    exclude: Sequence[str] = (),
    memory_limit_bytes: int | None = None,
    dropout: bool = False,
    reduction: Reduction = "sample-sum",
    logits: Logits = "all",
) -> dict[str, Tensor]:
    """Gradient of the loss at the target weights, from the first `num_samples` samples.

    "sample-sum" is the sum of the samples' own gradients (arXiv 2411.19557, section 3): those of
    the model's own loss for each sample alone, whatever the batch size. For a causal language model
    that is the mean over the sample's label tokens. "batch-mean" is what the authors' code sums:
    the model's loss of a batch, divided by the number of its samples.

    `dataloader` yields batches of the model's inputs and labels, a row for each sample.
    `target_modules` and `exclude` are those of `matching_modules`. Sums are float32 in the host's
    memory; the model's device holds one weight's gradient at a time. `memory_limit_bytes` bounds
    the sums of one pass: less costs more passes over the same samples and gives the same numbers.
    `dropout` switches the model's own dropout on. `logits="labels"` saves time with a large
    vocabulary (`lorasb.models.label_logits`); the numbers are the same to rounding.

    The gradient is that of the layer's own use of its weight, which is what an adapter changes: an
    output layer tied to the embedding has nothing of the embedding's part.

    Under `torch.distributed` every process calls it, with a loader of all samples or of its own:
    each takes its share of the first `num_samples`, and all return the same sums. A model with
    gradient checkpointing recomputes its activations here too. Weights that accelerate offloads are
    loaded layer by layer; with gradient checkpointing they leave memory as soon as they are used,
    but for those whose gradients a pass sums up.

    Returns float32 tensors (out, in) on the CPU under the modules' names in the model. The model is
    left as it was found, and so is the state of the random generators.

    Raises
    ------
    UserError
        If a target matches nothing or what is no plain linear layer, the model has an adapter,
        samples are too few or have no label, the limit is too small for one weight, or a loss or
        gradient is missing or not finite; names the module.
    """
    found = each_gradient(
        model,
        dataloader,
        target_modules=target_modules,
        num_samples=num_samples,
        exclude=exclude,
        memory_limit_bytes=memory_limit_bytes,
        dropout=dropout,
        reduction=reduction,
        logits=logits,
    )
    return dict(found)


def each_gradient(
    model: PreTrainedModel,
    dataloader: Iterable[Mapping[str, Tensor]],
    *,
    target_modules: Sequence[str] | str | PeftConfig,
    num_samples: int,
    exclude: Sequence[str] = (),
    memory_limit_bytes: int | None = None,
    dropout: bool = False,
    reduction: Reduction = "sample-sum",
    logits: Logits = "all",
) -> Iterator[tuple[str, Tensor]]:
    """What `estimate_gradients` returns, one weight after the other; none is held once it is out.

    All sums of a pass are complete before its first weight comes.
    """
    model = _base_model(model)
    modules = matching_modules(model, target_modules, exclude)
    refuse_hollow(modules)
    passes = _passes(modules, memory_limit_bytes)
    with _fork_rng(model):
        batches = _share(list(first_samples(dataloader, num_samples)), reduction)
    rows = sum(map(_rows, batches))
    progress = tqdm(total=len(passes) * rows, desc="gradient", file=sys.stderr, disable=None)
    with progress:
        for group in passes:
            # each pass starts from the same random state: the same dropout masks
            with _estimating(model, dropout), _collected(group) as collected:
                for batch in batches:
                    for loss in _losses(model, batch, reduction, logits):
                        if loss.requires_grad:
                            torch.autograd.backward(loss)
                    progress.update(_rows(batch))
            yield from _finished(group, collected)


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
        needed = torch.float32.itemsize * module.weight.numel()
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


def _base_model(model: nn.Module) -> Any:
    found = unwrapped(model)
    if hasattr(found, "peft_config"):
        raise UserError(
            "gradient estimate: the model already has an adapter; estimate on the base model, "
            "before get_peft_model or after unload()"
        )
    return found


def first_samples(dataloader: Iterable[Mapping[str, Tensor]], num_samples: int) -> Iterator[Batch]:
    """Batches, the last one cut, of that many samples; refuses fewer (UserError)."""
    if num_samples < 1:
        raise UserError(f"num_samples {num_samples}: at least 1 is needed")
    missing = num_samples
    for batch in dataloader:
        taken = min(missing, _rows(batch))
        yield {key: value[:taken] for key, value in batch.items()}
        missing -= taken
        if not missing:
            return
    raise UserError(
        f"num_samples {num_samples}: the dataloader has only {num_samples - missing} samples"
    )


def _share(batches: list[Batch], reduction: Reduction) -> list[Batch]:
    """The samples of this process, where there are several; whole batches where they matter."""
    if not dist.is_initialized():
        return batches
    first, step = dist.get_rank(), dist.get_world_size()
    if reduction == "batch-mean":
        return batches[first::step]
    shares = []
    for batch in batches:
        rows = range(_rows(batch))[first::step]
        if rows:
            own = {key: v[first::step] if len(v) > 1 else v for key, v in batch.items()}
            shares.append(own)
    return shares


def _rows(batch: Mapping[str, Tensor]) -> int:
    """Number of samples of a batch; a tensor has a row for each, or one row for all."""
    for key, value in batch.items():
        if not isinstance(value, Tensor) or not value.ndim:
            raise UserError(f"batch: '{key}' is no tensor with a row for each sample; leave it out")
    rows = {key: len(value) for key, value in batch.items()}
    most = max(rows.values(), default=0)
    if not set(rows.values()) <= {1, most}:
        raise UserError(f"batch: every tensor should have a row for each sample; rows are {rows}")
    return most


def batch_loss(
    model: PreTrainedModel,
    batch: Mapping[str, Tensor],
    reduction: Reduction = "sample-sum",
    logits: Logits = "all",
) -> Tensor:
    """The loss whose gradient `estimate_gradients` takes, of one batch: a number, float32.

    Raises
    ------
    UserError
        If the model returns none, if it is not finite, or if a sample has no label token.
    """
    return torch.stack(list(_losses(model, batch, reduction, logits))).sum()


def _losses(
    model: PreTrainedModel, batch: Mapping[str, Tensor], reduction: Reduction, logits: Logits
) -> Iterator[Tensor]:
    """What adds up to the loss of a batch: one number, or one for each sample.

    One forward pass is enough where the model's loss is a mean of terms that are known here.
    Otherwise the model is asked for the loss of each sample alone.
    """
    inputs = {key: value.to(input_device(model)) for key, value in batch.items()}
    rows = _rows(inputs)
    _refuse_unlabelled(inputs.get("labels"))
    terms = _terms(model, at_labels(model, inputs) if logits == "labels" else inputs)
    if terms is not None:
        yield _finite(_reduced(*terms, rows, reduction))
    elif reduction == "batch-mean":
        yield _finite(_forward(model, inputs)[0].float() / rows)
    else:
        for row in range(rows):
            sample = {k: v[row : row + 1] if len(v) > 1 else v for k, v in inputs.items()}
            yield _finite(_forward(model, sample)[0].float())


def _forward(model: PreTrainedModel, inputs: Batch) -> tuple[Tensor, Any]:
    """The model's own loss, and its logits if it has any."""
    try:
        inspect.signature(model.forward).bind(**inputs)
    except TypeError as error:
        raise UserError(f"batch: {type(model).__name__}: {error}") from error
    output = model(**inputs)
    loss = getattr(output, "loss", None)
    if loss is None:
        raise UserError(
            f"{type(model).__name__} returns no loss for batches of {', '.join(inputs)}; "
            "they should have its labels"
        )
    return loss, getattr(output, "logits", None)


def _terms(model: PreTrainedModel, inputs: Batch) -> tuple[Tensor, Tensor] | None:
    """Losses whose mean is the model's own loss of the batch, and the sample of each; or None."""
    terms: tuple[Tensor, Tensor] | None
    loss, logits = _forward(model, inputs)
    own = loss.detach()
    del loss  # with its graph, which is as large as the logits
    if not isinstance(logits, Tensor) or "labels" not in inputs:
        return None
    if SHIFTED in inputs:
        terms = _token_losses(logits.float(), inputs[SHIFTED].to(logits.device))
    else:
        terms = _known_terms(logits.float(), inputs["labels"].to(logits.device))
    if terms is None:
        return None
    mean = terms[0].detach().mean()
    tolerance = max(ROUNDING, 4 * torch.finfo(own.dtype).eps)
    same = torch.isclose(mean, own.to(mean), rtol=tolerance, atol=ROUNDING, equal_nan=True)
    return terms if same else None


def _known_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
    """Losses of a causal language model's tokens or of a head's samples, where shapes allow it."""
    classes = not labels.is_floating_point()
    if logits.ndim == 3 and labels.shape == logits.shape[:2] and classes:
        return _token_losses(logits[:, :-1], labels[:, 1:])
    if logits.ndim == 2 and labels.ndim == 1 and (classes or logits.shape[1] == 1):
        return _head_losses(logits, labels)
    return None


def _token_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each label token from the logits that predict it, and its sample's index."""
    labelled = labels != IGNORED
    losses = F.cross_entropy(logits[labelled], labels[labelled], reduction="none")
    return losses, labelled.nonzero()[:, 0]


def _head_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each sample, and its index."""
    samples = torch.arange(len(labels), device=labels.device)
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels.float(), reduction="none"), samples
    return F.cross_entropy(logits, labels, reduction="none"), samples


def _reduced(losses: Tensor, samples: Tensor, rows: int, reduction: Reduction) -> Tensor:
    counts = torch.bincount(samples, minlength=rows)
    if not counts.all():
        raise UserError(NO_LABEL)
    if reduction == "sample-sum":
        return (losses / counts[samples]).sum()
    return losses.mean() / rows


def _refuse_unlabelled(labels: Tensor | None) -> None:
    if labels is not None and (labels == IGNORED).reshape(len(labels), -1).all(dim=1).any():
        raise UserError(NO_LABEL)


def _finite(loss: Tensor) -> Tensor:
    if not torch.isfinite(loss):
        raise UserError(f"gradient estimate: the loss is {loss.item()}")
    return loss


@contextmanager
def _collected(modules: Mapping[str, Linear]) -> Iterator[dict[str, Tensor]]:
    """Sum up gradients in float32 on the host as backward makes them, and free each at once."""
    sums: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[Tensor], None]:
        def take(weight: Tensor) -> None:
            assert weight.grad is not None  # what the hook is called for
            gradient, weight.grad = weight.grad.cpu().float(), None
            if name in sums:
                sums[name] += gradient
            else:
                sums[name] = gradient

        return take

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(own_weight(module, hook(name)))
        yield sums


def _finished(
    modules: Mapping[str, Linear], sums: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The sums as (out, in) on the CPU, checked, each handed over as it is asked for."""
    for name, module in modules.items():
        gradient = _summed(sums.pop(name, None), module)
        if gradient is None:
            raise UserError(f"gradient estimate: the loss does not depend on {name}")
        if not all_finite(gradient):
            raise UserError(f"gradient estimate: the gradient of {name} is not finite")
        oriented = gradient.T if isinstance(module, Conv1D) else gradient
        yield name, oriented.contiguous()


def _summed(own: Tensor | None, module: Linear) -> Tensor | None:
    """The sum over all processes; None where none has a part."""
    if not dist.is_initialized():
        return own
    device = computing_device(module)  # where the processes can reach it
    parts = torch.tensor(own is not None, dtype=torch.int32, device=device)
    dist.all_reduce(parts)
    total = torch.zeros(module.weight.shape, device=device)
    if own is not None:
        total.copy_(own)
    dist.all_reduce(total)
    return total.cpu() if parts else None


def _checkpoint(model: PreTrainedModel) -> None:
    """Let layers that are to recompute their activations do so outside training too."""
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing:
            if getattr(model.config, "use_cache", False):
                model.config.use_cache = False  # which a second pass would fill twice
            layer._gradient_checkpointing_func = partial(_recomputed, layer, layer.training)
            layer.training = True  # what the layer looks at


def _recomputed(
    layer: nn.Module, training: bool, function: Callable[..., Any], *arguments: Any
) -> Any:
    """A layer's output, of which only the input is kept; dropout is on only in `training`."""

    def forward(*arguments: Any) -> Any:
        layer.training = training
        try:
            return function(*arguments)
        finally:
            layer.training = True

    # a forward pass that stops early would leave the weight in memory that it has loaded last
    whole = any(weight.is_meta for weight in layer.parameters())
    # the other kind asks that the input has a gradient, which that of the first layer has not
    return checkpoint(forward, *arguments, use_reentrant=False, early_stop=not whole)


@contextmanager
def _estimating(model: PreTrainedModel, dropout: bool) -> Iterator[None]:
    """A model whose own parameters get no gradient; all is as it was afterwards."""
    with _preserved(model), torch.enable_grad(), _fork_rng(model):
        model.train(dropout)
        model.requires_grad_(False)
        _checkpoint(model)
        yield


@contextmanager
def _preserved(model: PreTrainedModel) -> Iterator[None]:
    """Give modules back their modes, and parameters their `requires_grad` and `.grad`."""
    # a head without a type of problem takes it from its first labels
    settings = {
        name: getattr(model.config, name)
        for name in ("problem_type", "use_cache")
        if hasattr(model.config, name)
    }
    modes = [(module, module.training) for module in model.modules()]
    checkpointing = [
        (module, module._gradient_checkpointing_func)
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    ]
    # by name: each use of a weight that is offloaded makes it another parameter
    parameters = model.named_parameters(remove_duplicate=False)
    states = [(name, p.requires_grad, p.grad) for name, p in parameters]
    for weight in model.parameters():
        weight.grad = None
    try:
        yield
    finally:
        for name, value in settings.items():
            setattr(model.config, name, value)
        for module, training in modes:
            module.training = training
        for layer, function in checkpointing:
            layer._gradient_checkpointing_func = function
        for name, requires_grad, gradient in states:
            weight = model.get_parameter(name)
            weight.requires_grad_(requires_grad)
            weight.grad = gradient


def _fork_rng(model: PreTrainedModel) -> AbstractContextManager[None]:
    layers = (m for m in model.modules() if isinstance(getattr(m, "weight", None), Tensor))
    devices = {computing_device(layer) for layer in layers}
    on_gpu = [device for device in devices if device.type == "cuda"]
    return torch.random.fork_rng(devices=sorted(on_gpu, key=str))
