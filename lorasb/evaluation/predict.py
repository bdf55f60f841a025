"""Predictions of a model on a prepared split: generated text, classes or numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.evaluation.likelihood import likelihoods
from lorasb.seeding import generator as named_generator
from lorasb.seeding import seeded
from lorasb.start.gradients import Batch
from lorasb.tasks.collate import Collator
from lorasb.tasks.task import GenerationTask, Row, Task

if TYPE_CHECKING:
    from datasets import Dataset

# Greedy, also where a hub model's generation_config says otherwise.
GREEDY = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "use_cache": True,
}


def predict(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    dataset: Dataset,
    *,
    batch_size: int,
    generator: torch.Generator | None = None,
    replies: bool = True,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """One `{"item", "prediction", "label"}` for each row, in the rows' order.

    A generation task's prediction is the greedy answer as text, or a sampled one where the task has
    `sampling`, up to `max_new_tokens`, the end-of-text token or a stop text, each of which an
    evaluation set may have for itself; a class is an `int`, a number a `float`. The gold label has
    the same type. Where the task has metrics by likelihood, each row also has what
    `lorasb.evaluation.likelihood.likelihoods` finds. Without `replies` no row has a prediction;
    where the task has a number of them, so many of each set have one, the same for every model.
    Batches are made of rows of similar length and one set. Sampling is seeded from `generator`,
    without one from a generator of seed 0; its draws depend on `batch_size`. The model's mode and
    the global random state are left as they were.

    Raises
    ------
    UserError
        If the model's output is not finite.
    """
    rows: list[Row] = dataset.to_list()
    generates = isinstance(task, GenerationTask)
    collate = Collator(tokenizer, side="left" if generates else "right")
    device = next(model.parameters()).device
    asked = _asked(task, rows) if replies else []
    shown = progress and bool(asked)
    found: dict[int, Row] = {}
    with (
        _evaluating(model),
        # generation takes no generator
        seeded(generator or torch.Generator().manual_seed(0)),
        tqdm(total=len(asked), desc="predict", file=sys.stderr, disable=not shown) as bar,
    ):
        for chosen in _batches(rows, asked, batch_size):
            batch = collate([rows[index] for index in chosen])
            batch = {name: value.to(device) for name, value in batch.items() if name != "labels"}
            part = task.part(rows[chosen[0]].get("set"))
            if isinstance(part, GenerationTask):
                outputs: list[Any] = _generate(model, tokenizer, batch, part)
            else:
                outputs = _classify(model, batch, part)
            found |= zip(chosen, ({"prediction": output} for output in outputs), strict=True)
            bar.update(len(chosen))
    more: list[Row] = [{}] * len(rows)
    if task.by_likelihood:
        with _evaluating(model):
            more = likelihoods(model, tokenizer, rows, batch_size, progress=progress)
    gold = "answer" if generates else "labels"
    return [
        {"item": row["item"], **found.get(index, {}), "label": row[gold], **more[index]}
        for index, row in enumerate(rows)
    ]


def _asked(task: Task, rows: list[Row]) -> list[int]:
    """Numbers of the rows that are to be predicted."""
    found: list[int] = []
    for name, own in _by_set(rows, range(len(rows))).items():
        drawn = torch.randperm(len(own), generator=named_generator(0, "replies"))
        found += [own[place] for place in drawn[: task.part(name).replies].tolist()]
    return sorted(found)


def _by_set(rows: list[Row], numbers: Iterable[int]) -> dict[str | None, list[int]]:
    """Row numbers of each evaluation set; None where a task has none."""
    found: dict[str | None, list[int]] = {}
    for index in numbers:
        found.setdefault(rows[index].get("set"), []).append(index)
    return found


def _batches(rows: list[Row], numbers: Iterable[int], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches, each of one evaluation set."""
    # the longest first: too large a batch fails at once
    order = sorted(numbers, key=lambda index: -len(rows[index]["input_ids"]))
    for chosen in _by_set(rows, order).values():
        for start in range(0, len(chosen), batch_size):
            yield chosen[start : start + batch_size]


def _decoding(task: GenerationTask) -> dict[str, Any]:
    if task.sampling is None:
        return GREEDY
    return GREEDY | {"do_sample": True} | asdict(task.sampling)


def _generate(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, batch: Batch, task: GenerationTask
) -> list[str]:
    generated = model.generate(  # type: ignore[operator]
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=task.max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_decoding(task),
    )
    answers = generated[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return [_until(text, task.stop).strip() for text in texts]


def _until(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first of the stop texts; what generation would end with."""
    return text[: min((text.index(one) for one in stop if one in text), default=len(text))]


def _classify(model: torch.nn.Module, batch: Batch, task: Task) -> list[int] | list[float]:
    logits = model(**batch).logits.float()
    if not logits.isfinite().all():
        raise UserError(f"task {task.name}: the model's output is not finite; was it trained well?")
    if task.kind == "regression":
        numbers: list[float] = logits[:, 0].tolist()
        return numbers
    classes: list[int] = logits.argmax(-1).tolist()
    return classes


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the mode of before."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
