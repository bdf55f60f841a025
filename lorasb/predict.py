"""Predictions of a model on a prepared split: generated text, classes or numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.tasks.base import GenerationTask, Row, Task
from lorasb.tasks.collate import Batch, Collator

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
    progress: bool = True,
) -> list[dict[str, Any]]:
    """One `{"item", "prediction", "label"}` for each row, in the rows' order.

    A generation task's prediction is the greedy answer as text, up to `max_new_tokens` or the
    end-of-text token; a class is an `int`, a number a `float`. The gold label has the same type.
    Batches are made of rows of similar length. The model's mode is left as it was.

    Raises
    ------
    UserError
        If the model's output is not finite.
    """
    rows: list[Row] = dataset.to_list()
    generates = isinstance(task, GenerationTask)
    collate = Collator(tokenizer, side="left" if generates else "right")
    device = next(model.parameters()).device
    # the longest first: too large a batch fails at once
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]["input_ids"]))
    found: dict[int, str | int | float] = {}
    with (
        _evaluating(model),
        tqdm(total=len(rows), desc="predict", file=sys.stderr, disable=not progress) as bar,
    ):
        for start in range(0, len(rows), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate([rows[index] for index in chosen])
            batch = {name: value.to(device) for name, value in batch.items() if name != "labels"}
            if isinstance(task, GenerationTask):
                outputs: list[Any] = _generate(model, tokenizer, batch, task.max_new_tokens)
            else:
                outputs = _classify(model, batch, task)
            found.update(zip(chosen, outputs, strict=True))
            bar.update(len(chosen))
    gold = "answer" if generates else "labels"
    return [
        {"item": row["item"], "prediction": found[index], "label": row[gold]}
        for index, row in enumerate(rows)
    ]


def _generate(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, batch: Batch, max_new_tokens: int
) -> list[str]:
    generated = model.generate(  # type: ignore[operator]
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **GREEDY,
    )
    answers = generated[:, batch["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


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
