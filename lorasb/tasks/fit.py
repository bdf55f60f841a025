"""Whether a model can take in what a task prepares for it, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.models.limits import Limits
from lorasb.tasks.task import GenerationTask, Task


def check_lengths(task: Task, max_length: int, limits: Limits) -> None:
    """Refuse lengths that the model has no positions for, whatever the rows are.

    Raises
    ------
    UserError
        If a training row of `max_length` tokens, or a reply alone, does not fit.
    """
    if limits.positions is None:
        return
    if max_length > limits.positions:
        raise UserError(
            f"task {task.name}: training.max_length is {max_length}, and the model has "
            f"{limits.positions} positions; set it to at most so many"
        )
    for part in (task, *task.sets.values()):
        if isinstance(part, GenerationTask) and part.max_new_tokens >= limits.positions:
            raise UserError(
                f"task {part.name}: max_new_tokens is {part.max_new_tokens}, and the model has "
                f"{limits.positions} positions, for the prompt too; lower it"
            )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, limits: Limits) -> None:
    """Refuse a tokenizer that is not the model's.

    Another one of about as many tokens, with special tokens at the same places, is not found out.

    Raises
    ------
    UserError
        If it has more tokens than the embedding, or not half as many, or if most of the special
        tokens in the model's configuration are none of its own.
    """
    name, known = tokenizer.name_or_path, len(tokenizer)
    # added tokens may lie behind the embedding, if no text has them
    if tokenizer.vocab_size > limits.embeddings or known < limits.embeddings / 2:
        raise UserError(
            f"{name}: the tokenizer has {known} tokens and the model's embedding "
            f"{limits.embeddings} rows; is it the tokenizer of another model?"
        )
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    foreign = limits.special_ids - special - set(tokenizer.all_special_ids)
    if len(foreign) > len(limits.special_ids) / 2:
        raise UserError(
            f"{name}: token {min(foreign)} is special in the model's configuration and not in the "
            "tokenizer; is it the tokenizer of another model?"
        )


def check_rows(
    task: Task, splits: Mapping[str, Dataset], tokenizer: PreTrainedTokenizerBase, limits: Limits
) -> None:
    """Refuse prepared rows with tokens that the model does not have, or without room for a reply.

    Raises
    ------
    UserError
        It names the task and the split or evaluation set.
    """
    _check_ids(task, splits, tokenizer, limits)
    if isinstance(task, GenerationTask) and limits.positions is not None:
        for split in ("selection", "test"):
            _check_room(task, splits[split], limits.positions)


def _check_ids(
    task: Task, splits: Mapping[str, Dataset], tokenizer: PreTrainedTokenizerBase, limits: Limits
) -> None:
    used = {f"split {split}": _largest(rows, "input_ids") for split, rows in splits.items()}
    used |= {"padding": tokenizer.pad_token_id, "the end of a text": tokenizer.eos_token_id or 0}
    for where, token in used.items():
        if token >= limits.embeddings:
            raise UserError(
                f"task {task.name}, {where}: token {token} of the tokenizer "
                f"{tokenizer.name_or_path} has no row in the model's embedding of "
                f"{limits.embeddings}; is it the tokenizer of another model?"
            )
    for split, rows in splits.items():
        types = _largest(rows, "token_type_ids") if "token_type_ids" in rows.column_names else 0
        if limits.token_types is not None and types >= limits.token_types:
            raise UserError(
                f"task {task.name}, split {split}: the tokenizer {tokenizer.name_or_path} marks a "
                f"text of a pair by {types}, and the model knows {limits.token_types} such marks; "
                "is it the tokenizer of another model?"
            )


def _largest(rows: Dataset, column: str) -> int:
    flat = pc.list_flatten(rows.with_format("arrow")[:][column])
    return pc.max(flat).as_py() or 0  # None without any row


def _check_room(task: GenerationTask, rows: Dataset, positions: int) -> None:
    names = rows["set"] if "set" in rows.column_names else [""] * len(rows)
    longest: dict[str, int] = {}
    for name, ids in zip(names, rows["input_ids"], strict=True):
        longest[name] = max(longest.get(name, 0), len(ids))
    for name, tokens in longest.items():
        part = task.part(name)
        assert isinstance(part, GenerationTask)
        if tokens + part.max_new_tokens > positions:
            raise UserError(
                f"task {part.name}: the longest prompt has {tokens} tokens, max_new_tokens is "
                f"{part.max_new_tokens}, and the model has {positions} positions; lower "
                "max_new_tokens or training.max_length"
            )
