"""Memory of every stage at its peak: closed forms, from shapes and settings alone.

They are what `plan` prints and what the workflow asks a cluster for. Rows are taken to be as long
as the settings allow. Kept activations are counted in numbers a token and layer: 10 h for width h
(norms, queries, keys, values, rotations), 2 i for i outputs of the feed-forward's first matrices,
and 5 a s for a heads and s tokens where attention matrices are made. In 16 bits a number takes
3.25 bytes, since norms and the inputs of adapters stay in float32.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

from lorasb.methods.counts import Counts, Shapes
from lorasb.methods.method import NEEDS_GRADIENT, Method
from lorasb.models.spec import FLOAT32_BYTES, LOGITS_AT_ONCE
from lorasb.study.cells import Cell
from lorasb.study.counts import adapted_shapes, cell_counts, of_shape
from lorasb.study.study import Study
from lorasb.tasks.task import GenerationTask

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Python with torch, transformers and datasets: 0.6 GB measured; CUDA's libraries take the rest
PROCESS = 2e9
# of a prepared row, a token: an entry and an integer in each of two lists
ROW_BYTES = 72
# a token of the vocabulary in the loss: its logit, and float32 of it, of its log and its gradient
LOSS_BYTES = 3 * FLOAT32_BYTES
# copies of a matrix that its decomposition holds
SVD_COPIES = 3
KEPT_IN_16_BITS = 3.25


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a process: on the GPU, and on the host beside it."""

    device: float = 0.0
    host: float = 0.0
    # the base model on its way through the host to a GPU
    loaded: float = 0.0

    def of_host(self, *, gpu: bool) -> float:
        """Bytes of the whole process on the host; without a GPU all is there."""
        beside = max(self.host, self.loaded) if gpu else self.host + self.device
        return PROCESS + beside

    def __or__(self, other: Memory) -> Memory:
        """Enough for either."""
        return Memory(
            max(self.device, other.device),
            max(self.host, other.host),
            max(self.loaded, other.loaded),
        )


@dataclass(frozen=True)
class Size:
    """What the closed forms need of a model under a task: numbers, not bytes."""

    parameters: int
    adapted: int
    largest: int
    width: int
    # outputs of the feed-forward's first matrices, in one layer; two of them where it is gated
    inner: int
    layers: int
    # keys and values of a token, in one layer
    cached: int
    # heads whose attention matrix is made
    heads: int
    # tokens that are told apart: of a causal language model
    classes: int
    bytes: int

    @property
    def weights(self) -> float:
        """Bytes of the base model as it is loaded."""
        return self.parameters * self.bytes

    def kept(self, rows: int, length: int) -> int:
        """Numbers that one layer keeps for backward."""
        attention = 5 * self.heads * length
        return rows * length * (10 * self.width + 2 * self.inner + attention)


@cache
def size(study: Study, model: str, task: str) -> Size:
    """The size of a model under a task of the study."""
    found = of_shape(study, model, task, "size", lambda: asdict(_size(study, model, task)))
    return Size(**found)


def _size(study: Study, model: str, task: str) -> Size:
    from lorasb.models.load import skeleton

    resolved = study.resolved(model, task)
    kind = resolved.task.kind
    found = skeleton(resolved.model, kind=kind, num_labels=resolved.task.num_labels)
    config = found.config
    heads = config.num_attention_heads
    # of a model that has fewer keys than queries, or heads of another width
    keys = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    numbers = [m * n for m, n in adapted_shapes(study, model, task)[0].values()]
    return Size(
        parameters=found.num_parameters(),
        adapted=sum(numbers),
        largest=max(numbers),
        width=config.hidden_size,
        inner=_inner(found),
        layers=config.num_hidden_layers,
        cached=2 * keys * width,
        heads=heads if _makes_attention(config) else 0,
        classes=config.vocab_size if kind == "generation" else 0,
        bytes=resolved.model.torch_dtype.itemsize,
    )


def _inner(model: PreTrainedModel) -> int:
    from lorasb.models.layers import linear_shapes

    config = model.config
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    made = [m for m, _ in linear_shapes(model).values() if m in (inner, 2 * inner)]
    return sum(made) // config.num_hidden_layers


def _makes_attention(config: PreTrainedConfig) -> bool:
    """Whether matrices of tokens by tokens are kept: without a fused kernel, or with dropout."""
    names = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
    dropout = any(getattr(config, name, 0) for name in names)
    return dropout or config._attn_implementation == "eager"


def fetch_model(study: Study, model: str) -> Memory:
    """The weights as they are read, and as float32."""
    found = size(study, model, next(iter(study.tasks)))
    return Memory(host=2 * FLOAT32_BYTES * found.parameters)


def prepare_task(study: Study, model: str, task: str) -> Memory:
    """Tokenised rows; no model."""
    return Memory(host=2 * _rows(study, task))


def estimate_gradient(study: Study, model: str, task: str) -> Memory:
    """Base model, one backward pass, one weight's gradient; the float32 sums are on the host."""
    found, settings = size(study, model, task), study.settings(task)
    rows, length = settings["gradient"]["batch_size"], settings["training"]["max_length"]
    activations = _activations(found, rows, length, found.bytes)
    return Memory(
        device=found.weights + activations + found.largest * found.bytes,
        host=FLOAT32_BYTES * found.adapted
        + found.largest * (FLOAT32_BYTES + found.bytes)
        + _rows(study, task),
        loaded=found.weights,
    )


def estimate_activations(study: Study, model: str, task: str) -> Memory:
    """Base model, one layer's activations of a sample; second moments are on the host."""
    found, length = size(study, model, task), study.settings(task)["training"]["max_length"]
    layer = FLOAT32_BYTES * found.kept(1, length)
    states = FLOAT32_BYTES * length * found.width * (found.layers + 1)
    return Memory(
        device=found.weights + layer + states,
        host=2 * _moments(study, model, task) + _rows(study, task),
        loaded=found.weights,
    )


def factorize_gradient(study: Study, model: str, task: str) -> Memory:
    """The gradient, the decomposition of one matrix, and the factors; on the host."""
    found = size(study, model, task)
    numbers = found.adapted + SVD_COPIES * found.largest
    return Memory(host=FLOAT32_BYTES * numbers + factors(study, model, task))


def factorize_weights(study: Study, model: str) -> Memory:
    """The base model, the decomposition of one matrix, and the factors."""
    task = next(iter(study.tasks))
    found = size(study, model, task)
    matrix = FLOAT32_BYTES * SVD_COPIES * found.largest
    kept = factors(study, model, task)
    return Memory(device=found.weights + matrix + kept, host=kept, loaded=found.weights)


def train(study: Study, cell: Cell) -> Memory:
    """Weights, gradients, moments and activations; what the start is read from, what is saved."""
    found, counts, method = _cell(study, cell)
    loaded = Memory(device=found.weights, loaded=found.weights)
    if not method.trains:
        return loaded
    settings = study.settings(cell.task)
    training, number = settings["training"], method.bytes_a_number(found.bytes)
    trained = counts.trainable_with_task_head
    held = _bytes_held(study, cell)
    device = _model(study, cell) + number * (trained + counts.optimizer_state)
    mixed = training["precision"] != "float32"
    if mixed and held == FLOAT32_BYTES:
        device += 2 * found.parameters  # autocast's copies of the weights
    rows, length = training["batch_size"], training["max_length"]
    device += _activations(found, rows, length, 2 if mixed else held)
    points = 0 if cell.split == "selection" else settings["probe"]["points"]
    # a checkpoint or the adapter on its way to the disk, and what was kept along training
    saved = number * (points + 1) * trained
    return loaded | Memory(device, saved + _start(study, cell) + _rows(study, cell.task))


def predict(study: Study, cell: Cell) -> Memory:
    """Weights and one batch: keys and values of prompt and answer, and one layer's activations.

    Where answers are given, also logits at all their tokens.
    """
    found, counts, method = _cell(study, cell)
    settings, task = study.settings(cell.task), study.tasks[cell.task]
    held = _bytes_held(study, cell)
    rows, length = settings["prediction"]["batch_size"], settings["training"]["max_length"]
    device = _model(study, cell) + rows * found.classes * (held + FLOAT32_BYTES)
    device += found.kept(rows, length) * max(held, KEPT_IN_16_BITS)
    if task.by_likelihood:
        row = length * found.classes
        device += min(rows * row, max(row, LOGITS_AT_ONCE)) * LOSS_BYTES
    parts = (task, *task.sets.values())
    if news := [part.max_new_tokens for part in parts if isinstance(part, GenerationTask)]:
        device += rows * (length + max(news)) * found.layers * found.cached * held
    stored = method.bytes_a_number(found.bytes) * (counts.stored + counts.task_head)
    return Memory(device=device, host=stored, loaded=found.weights)


def train_and_predict(study: Study, cell: Cell) -> Memory:
    """Both, one after the other; after each epoch where the best one is looked for."""
    one, other = train(study, cell), predict(study, cell)
    if study.settings(cell.task)["prediction"]["epoch"] == "best":
        return Memory(one.device + other.device - _model(study, cell), one.host, one.loaded) | other
    return one | other


def cell_and_start(study: Study, cell: Cell) -> Memory:
    """The most that a cell needs, from the making of its start to its predictions."""
    names, needs = (cell.model, cell.task), study.variants[cell.variant].method.needs
    need = train_and_predict(study, cell)
    if needs & NEEDS_GRADIENT:
        need |= estimate_gradient(study, *names)
    if "activations" in needs:
        need |= estimate_activations(study, *names)
    if "gradient_factors" in needs:
        need |= factorize_gradient(study, *names)
    if "weight_factors" in needs:
        need |= factorize_weights(study, cell.model)
    return need


def probe_directions(study: Study, model: str, task: str) -> Memory:
    """Two float32 copies of the model and of its start, updates and snapshots of two cells."""
    found, settings = size(study, model, task), study.settings(task)
    points = settings["probe"]["points"]
    if not points:
        return Memory()
    cells = [
        cell for cell in study.cells_of(model, task) if study.variants[cell.variant].method.trains
    ]
    trained = max((cell_counts(study, cell).trainable_with_task_head for cell in cells), default=0)
    rows = min(settings["gradient"]["batch_size"], settings["probe"]["rows"])
    activations = _activations(found, rows, settings["training"]["max_length"], FLOAT32_BYTES)
    models = 3 * found.parameters + 2 * found.adapted + 2 * trained
    kept = 2 * points * found.adapted + points * trained + 3 * found.adapted
    return Memory(
        device=FLOAT32_BYTES * models + activations,
        host=FLOAT32_BYTES * kept + _rows(study, task),
        loaded=found.weights,
    )


def measure_spectra(study: Study, model: str, task: str) -> Memory:
    """All gradients that cells start from, and the decomposition of one matrix."""
    from lorasb.study.compared import gradients

    number = len(gradients(study, model, task))
    if not number:
        return Memory()
    found = size(study, model, task)
    numbers = number * found.adapted + SVD_COPIES * found.largest
    return Memory(host=FLOAT32_BYTES * numbers)


def factors(study: Study, model: str, task: str) -> int:
    """Bytes of factors at the study's largest rank."""
    shapes, _, _ = adapted_shapes(study, model, task)
    return FLOAT32_BYTES * factor_numbers(shapes, study.largest_rank)


def factor_numbers(shapes: Shapes, rank: int) -> int:
    """Numbers of U, S and V of each weight at a rank."""
    return sum(rank * (m + n + 1) for m, n in shapes.values())


def starts(study: Study, need: str, model: str, task: str) -> int:
    """Bytes of a file that a method may need."""
    if need == "gradient":
        return FLOAT32_BYTES * size(study, model, task).adapted
    return _moments(study, model, task) if need == "activations" else factors(study, model, task)


def _moments(study: Study, model: str, task: str) -> int:
    """Bytes of the second moments of all adapted layers' inputs."""
    shapes, _, _ = adapted_shapes(study, model, task)
    return FLOAT32_BYTES * sum(n * n for _, n in shapes.values())


def _cell(study: Study, cell: Cell) -> tuple[Size, Counts, Method]:
    method = study.variants[cell.variant].method
    return size(study, cell.model, cell.task), cell_counts(study, cell), method


def _bytes_held(study: Study, cell: Cell) -> int:
    """Bytes of a number of the model's own weights, as the cell's method holds them."""
    found, counts, method = _cell(study, cell)
    whole = counts.whole_model and method.trains
    return method.bytes_a_number(found.bytes) if whole else found.bytes


def _model(study: Study, cell: Cell) -> float:
    """Bytes of the model with its adapter, without gradients."""
    found, counts, method = _cell(study, cell)
    own = found.parameters * _bytes_held(study, cell)
    if counts.whole_model:
        return own
    shapes, _, _ = adapted_shapes(study, cell.model, cell.task)
    bases = factor_numbers(shapes, cell.rank) if method.needs else 0
    adapter = max(counts.stored, counts.trainable + bases) + counts.task_head
    return own + method.bytes_a_number(found.bytes) * adapter


def _start(study: Study, cell: Cell) -> float:
    """Bytes of the files that a cell's method starts from, and of what it makes of them."""
    needs = study.variants[cell.variant].method.needs
    names = cell.model, cell.task
    read: float = sum(starts(study, need, *names) for need in needs)
    if needs & {"gradient", "activations"}:  # which the method decomposes itself
        found = size(study, *names)
        read += FLOAT32_BYTES * (found.adapted + SVD_COPIES * found.largest)
    return read


def _activations(found: Size, rows: int, length: int, number: int) -> float:
    """Bytes that a training pass keeps, in numbers of so many bytes, its loss included."""
    kept = FLOAT32_BYTES if number >= FLOAT32_BYTES else KEPT_IN_16_BITS
    loss = rows * length * found.classes * (number + LOSS_BYTES)
    return kept * found.layers * found.kept(rows, length) + loss


def _rows(study: Study, task: str) -> float:
    """Bytes of the training rows as lists; 0 where their number is not known before."""
    rows = study.tasks[task].training_rows or 0
    return float(rows * study.settings(task)["training"]["max_length"] * ROW_BYTES)
