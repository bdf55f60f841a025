"""What each rule of the workflow does, from the files it reads to the files it writes.

Everything here is glue: the mathematics is in the modules it calls.
"""

from __future__ import annotations

import fcntl
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorasb import config, grid
from lorasb.errors import UserError
from lorasb.factors import factorize, save_factors
from lorasb.files import atomic, write_json, write_jsonl
from lorasb.gradients import estimate_gradients, load_gradients, save_gradients
from lorasb.grid import Cell
from lorasb.initialize import first_learning_rate
from lorasb.methods.base import Context, Method
from lorasb.models import (
    ModelSpec,
    load_model,
    load_tokenizer,
    matching_modules,
    oriented_weight,
)
from lorasb.order import batch_order
from lorasb.predict import predict
from lorasb.provenance import provenance
from lorasb.registry import variant_method
from lorasb.resolve import Resolved, cell_hash, resolve, total_steps
from lorasb.seeding import derive_seed, generator
from lorasb.tasks.base import Task
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import prepare, read_split, write_prepared
from lorasb.train import Outcome, Plan, snapshot_steps, train, warmup_steps

SPLIT_SEED = 0  # of the rows cut from the training split for selection: the same in every study


def prepare_task(study: str, model: str, task: str) -> None:
    """Rule `prepare_task`: tokenised splits and their manifest."""
    resolved = resolve(study, model, task)
    tokenizer = load_tokenizer(ModelSpec.from_config(resolved.model))
    max_length = resolved.settings["training"]["max_length"]
    splits, manifest = prepare(
        Task.from_config(task, resolved.task), tokenizer, max_length=max_length, seed=SPLIT_SEED
    )
    write_prepared(splits, manifest, _data(study, model, task))


def estimate_gradient(study: str, model: str, task: str, seed: int) -> None:
    """Rule `estimate_gradient`: the gradient of the adapted weights at the base model."""
    resolved = resolve(study, model, task)
    settings = resolved.settings["gradient"]
    network, tokenizer = _base_model(resolved, model, task, seed)
    rows = read_split(_data(study, model, task) / "train.parquet").to_list()
    chosen = torch.randperm(len(rows), generator=generator(seed, "gradient"))
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        [rows[index] for index in chosen[: settings["samples"]].tolist()],  # type: ignore[arg-type]
        batch_size=settings["batch_size"],
        collate_fn=Collator(tokenizer),
    )
    with _cost() as cost:
        gradients = estimate_gradients(
            network,
            loader,
            target_modules=resolved.model["target_modules"],
            num_samples=settings["samples"],
            memory_limit_bytes=settings["memory_limit_bytes"],
            dropout=settings["dropout"],
            reduction=settings["reduction"],
        )
    folder = _folder(grid.GRADIENT, study, model, task, seed)
    save_gradients(gradients, folder / "gradient.safetensors")
    write_json(folder / "gradient.json", cost | {"samples": settings["samples"]})


def factorize_gradient(study: str, model: str, task: str, seed: int) -> None:
    """Rule `factorize_gradient`: truncated SVD of the first step, at the study's largest rank."""
    settings = resolve(study, model, task).settings["factors"]
    gradients = load_gradients(
        _folder(grid.GRADIENT, study, model, task, seed) / "gradient.safetensors"
    )
    with _cost() as cost:
        factors = factorize(
            gradients,
            grid.largest_rank(study),
            step=settings["step"],
            generator=generator(seed, "svd"),
        )
    _write_factors(factors, cost, _folder(grid.GRADIENT_FACTORS, study, model, task, seed))


def factorize_weights(study: str, model: str) -> None:
    """Rule `factorize_weights`: truncated SVD of the adapted weights of the base model."""
    task = config.load_study(study)["tasks"][0]  # the adapted weights are the same for every task
    resolved = resolve(study, model, task)
    network, _ = _base_model(resolved, model, task, seed=0)
    modules = matching_modules(network, resolved.model["target_modules"])
    weights = {name: oriented_weight(module) for name, module in modules.items()}
    with _cost() as cost:
        factors = factorize(
            weights, grid.largest_rank(study), step="none", generator=generator(0, "svd")
        )
    _write_factors(factors, cost, Path(grid.WEIGHT_FACTORS.format(study=study, model=model)))


def train_cell(cell: Cell, expected_hash: str | None = None) -> None:
    """Rules `train` and `train_and_predict`: one run, from the base model to its files."""
    found = cell_hash(cell)
    if expected_hash not in (None, found):
        raise UserError(
            f"{cell.folder}: its settings changed since the workflow planned it "
            f"(hash {found}, expected {expected_hash}); start snakemake again"
        )
    failure = cell.folder / "failed.json"
    with _exclusive(cell.folder):
        try:
            _train_cell(cell)
        except Exception as error:
            write_json(failure, {"reason": f"{error or type(error).__name__}"})
            raise
        failure.unlink(missing_ok=True)
        shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)


def predict_cell(cell: Cell) -> None:
    """Rule `predict`: predictions of a trained cell on its split."""
    resolved = resolve(cell.study, cell.model, cell.task)
    network, tokenizer = _base_model(resolved, cell.model, cell.task, cell.seed)
    trained = variant_method(cell.variant).load(network, cell.folder / "adapter")
    _predict(trained.to(_device()), tokenizer, resolved, cell)


def context(cell: Cell, resolved: Resolved, rows: int) -> Context:
    """What the cell's method is told."""
    settings = resolved.settings["training"]
    steps = total_steps(resolved.settings, rows)
    rate = float(cell.lr)
    warmup = warmup_steps(settings, steps)
    spec = ModelSpec.from_config(resolved.model)
    return Context(
        rank=cell.rank,
        learning_rate=rate,
        # a method that trains nothing has rate 0
        first_learning_rate=rate
        and first_learning_rate(settings["scheduler"], rate, warmup, steps),
        seed=cell.seed,
        target_modules=list(spec.target_modules),
        task_head=spec.head_modules(resolved.task["kind"]),
        inputs={
            "gradient_factors": cell.path(grid.GRADIENT_FACTORS) / "factors.safetensors",
            "weight_factors": cell.path(grid.WEIGHT_FACTORS) / "factors.safetensors",
        },
    )


def base_model(cell: Cell, resolved: Resolved) -> PreTrainedModel:
    """The base model with the head of the cell's seed."""
    return _base_model(resolved, cell.model, cell.task, cell.seed)[0]


def training_rows(cell: Cell) -> int:
    """Number of rows in the cell's training split."""
    return len(read_split(cell.path(grid.DATA) / "train.parquet"))


def _train_cell(cell: Cell) -> None:
    resolved = resolve(cell.study, cell.model, cell.task)
    rows = read_split(cell.path(grid.DATA) / "train.parquet").to_list()
    network, tokenizer = _base_model(resolved, cell.model, cell.task, cell.seed)
    names = list(matching_modules(network, resolved.model["target_modules"]))
    method = variant_method(cell.variant)
    started = time.perf_counter()
    model = method.attach(network, context(cell, resolved, len(rows))).to(_device())
    attach_seconds = time.perf_counter() - started
    plan = _plan(cell, resolved, rows, model, names)
    outcome = train(model, method, rows, Collator(tokenizer), plan)
    _write_cell(cell, resolved, method, model, outcome)
    tokens = sum(len(rows[index]["input_ids"]) for index in plan.order) if outcome.log else 0
    write_json(
        cell.folder / "timing.json",
        {
            "attach_seconds": attach_seconds,
            "train_seconds": outcome.seconds,
            "tokens_per_second": tokens / outcome.seconds if tokens else None,
            "peak_memory_bytes": _peak_bytes(),
        },
    )
    if resolved.settings["prediction"]["with_training"]:
        _predict(model, tokenizer, resolved, cell)


def _plan(
    cell: Cell,
    resolved: Resolved,
    rows: list[dict[str, Any]],
    model: torch.nn.Module,
    names: list[str],
) -> Plan:
    settings = resolved.settings["training"]
    steps = total_steps(resolved.settings, len(rows))
    order = batch_order(
        [len(row["input_ids"]) for row in rows],
        steps * settings["gradient_accumulation"],
        settings["batch_size"],
        generator(cell.seed, "data"),
        group_by_length=settings["group_by_length"],
    )
    # the schedule starts at 0, so with warm-up the first step moves nothing
    first = 2 if warmup_steps(settings, steps) and steps > 1 else 1
    return Plan(
        settings=settings,
        steps=steps,
        learning_rate=float(cell.lr),
        seed=derive_seed(cell.seed, "training"),
        order=order,
        snapshot_steps=snapshot_steps(resolved.settings["probe"]["points"], first, steps),
        snapshot_names=[
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and any(f"{target}." in name for target in names)
        ],
        checkpoints=cell.folder / "checkpoints",
    )


def _write_cell(
    cell: Cell, resolved: Resolved, method: Method, model: torch.nn.Module, outcome: Outcome
) -> None:
    folder = cell.folder
    with atomic(folder / "snapshots.safetensors") as partial:
        save_file(outcome.snapshots, partial)
    write_jsonl(folder / "train.jsonl", outcome.log)
    write_json(
        folder / "config.json",
        {"cell": vars(cell), "variant": config.load_variant(cell.variant)} | vars(resolved),
    )
    write_json(folder / "provenance.json", provenance() | {"cell_hash": cell_hash(cell)})
    partial = folder / ".adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    method.save(model, partial)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    partial.rename(folder / "adapter")


def _predict(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, resolved: Resolved, cell: Cell
) -> None:
    task = Task.from_config(cell.task, resolved.task)
    split = read_split(cell.path(grid.DATA) / f"{cell.split}.parquet")
    batch_size = resolved.settings["prediction"]["batch_size"]
    with _cost() as cost:
        predictions = predict(model, tokenizer, task, split, batch_size=batch_size)
    write_jsonl(cell.folder / "predictions.jsonl", predictions)
    write_json(cell.folder / "predict_timing.json", cost)


def _base_model(
    resolved: Resolved, model: str, task: str, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    spec = ModelSpec.from_config(resolved.model)
    network = load_model(
        spec,
        kind=resolved.task["kind"],
        num_labels=resolved.task.get("num_labels", 1),
        generator=generator(seed, "head"),
    )
    return network.to(_device()), load_tokenizer(spec)


def _write_factors(factors: Any, cost: dict[str, float], folder: Path) -> None:
    save_factors(factors, folder / "factors.safetensors")
    residual = {name: factor.residual for name, factor in factors.items()}
    write_json(folder / "factors.json", cost | {"residual": residual})


def _data(study: str, model: str, task: str) -> Path:
    return Path(grid.DATA.format(study=study, model=model, task=task))


def _folder(pattern: str, study: str, model: str, task: str, seed: int) -> Path:
    return Path(pattern.format(study=study, model=model, task=task, seed=seed))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _peak_bytes() -> int:
    """Peak bytes on the GPU, or of the whole process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def _cost() -> Iterator[dict[str, float]]:
    """Seconds and peak bytes of the block, filled in when it ends."""
    cost: dict[str, float] = {}
    started = time.perf_counter()
    yield cost
    cost["seconds"] = time.perf_counter() - started
    cost["peak_memory_bytes"] = _peak_bytes()


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a process left over from a killed workflow may still be writing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"{folder}: another process is training this cell; waiting\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
