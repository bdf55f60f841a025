"""From a task's rows to token ids, in files, with a manifest of what was done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sized
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, List, Value, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.files import atomic, check_readable, write_json
from lorasb.models.label_logits import IGNORED
from lorasb.tasks.answers import EXTRACTORS
from lorasb.tasks.overlap import Part, Tally, drop_overlap
from lorasb.tasks.sources import check_apart, describe, load_rows
from lorasb.tasks.task import (
    SPLITS,
    GenerationTask,
    LabelledTask,
    Options,
    Row,
    Task,
    fields,
)
from lorasb.tasks.values import left_out

TOKENS = List(Value("int32"))
PROMPTS = Features({"item": Value("int64"), "input_ids": TOKENS, "answer": Value("string")})
LABELS = {"classification": Value("int32"), "regression": Value("float64")}


def prepare(
    task: Task, tokenizer: PreTrainedTokenizerBase, *, max_length: int, seed: int
) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """Tokenise the three splits of a task; no row is longer than `max_length` tokens.

    Every row has `item`, its number at the source, and `input_ids`. A labelled task adds `labels`
    and, where the tokenizer makes them, `token_type_ids`. A generation task's training rows are
    prompt, answer and end-of-text token, cut at the end, with `labels` of -100 on the prompt; its
    other rows are the prompt alone, cut at the front, and the gold `answer` as text. Where the task
    has evaluation sets, test rows name theirs in `set`, and `item` counts on from set to set.

    Training rows that are alike one of another split are dropped where that split says so.

    The manifest counts what was cut, dropped, alike or empty, and has a hash of each split and set.

    Raises
    ------
    UserError
        As `lorasb.tasks.sources.load_rows`; if the tokenizer lacks an end-of-text token; if no
        row is left; if a gold answer holds none for the task's extractor.
    """
    check_apart(task)
    training, *others = [
        _without_left_out(Part(one, split, name, load_rows(one, split, seed)))
        for split in SPLITS
        for name, one in _named(task, split).items()
    ]
    training, others = drop_overlap(training, others)
    splits: dict[str, Dataset] = {}
    facts: dict[str, Any] = {}
    for split in SPLITS:
        parts = [part for part in (training, *others) if part.split == split]
        encode = _encode_sets if parts[0].name else _encode_whole
        splits[split], counts = encode(parts, tokenizer, max_length)
        facts[split] = {**counts, **_facts(splits[split], tokenizer)}
    manifest = {
        "task": task.name,
        "data_version": task.data_version,
        "source": describe(task),
        "seed": seed,
        "tokenizer": tokenizer.name_or_path,
        "max_length": max_length,
        "splits": facts,
    }
    return splits, manifest


def write_prepared(splits: dict[str, Dataset], manifest: dict[str, Any], folder: Path) -> None:
    """Write `{split}.parquet` for each split, then `manifest.json`."""
    for split, rows in splits.items():
        with atomic(folder / f"{split}.parquet") as partial:
            pq.write_table(rows.with_format("arrow")[:], partial)
    write_json(folder / "manifest.json", manifest)


def read_split(path: Path) -> Dataset:
    """Read one split that `write_prepared` wrote.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    check_readable(path, "'prepare_task'")
    try:
        return Dataset(pq.read_table(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path}: not a complete parquet file; delete it and run the rule 'prepare_task' again"
        ) from error


def _named(task: Task, split: str) -> Mapping[str, Task]:
    """The evaluation sets of a split; without any the task itself, whose name is empty."""
    return (split == "test" and task.sets) or {"": task}


def _without_left_out(part: Part) -> Part:
    why = [left_out(part.task, row) for row in part.rows]
    kept = [row for row, reason in zip(part.rows, why, strict=True) if not reason]
    counts = {f"dropped_{reason}": why.count(reason) for reason in part.task.drop_rows}
    return replace(part, rows=kept, counts=counts)


def _encode_whole(
    parts: list[Part], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Dataset, Tally]:
    """The only part of a split without evaluation sets."""
    return _encode_part(parts[0], tokenizer, max_length)


def _encode_part(
    part: Part, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Dataset, Tally]:
    task, split = part.task, part.split
    if task.splits[split].rows == 0:
        return _empty(task, tokenizer), {}
    _check_left(part, part.rows, part.counts)
    if isinstance(task, GenerationTask):
        encode = _encode_answers if split == "train" else _encode_prompts
        encoded, counts = encode(task, tokenizer, part.rows, max_length)
    else:
        assert isinstance(task, LabelledTask)
        encoded, counts = _encode_labelled(task, tokenizer, part.rows, max_length)
    _check_left(part, encoded, part.counts | counts)
    _check_tokens(part, encoded)
    return encoded, part.counts | counts


def _check_left(part: Part, rows: Sized, counts: Tally) -> None:
    if not len(rows):
        why = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise UserError(f"task {part.task.name}: no row of the split {part.split} is left ({why})")


def _check_tokens(part: Part, encoded: Dataset) -> None:
    """Refuse rows that no batch can be made of; a training row's first token is not learnt."""
    needed = 2 if part.split == "train" and part.task.kind == "generation" else 1
    for item, ids in zip(encoded["item"], encoded["input_ids"], strict=True):
        if len(ids) < needed:
            raise UserError(
                f"task {part.task.name}, split {part.split}, row {item}: its text has no token; "
                "'drop_rows: [blank]' of the task leaves blank rows out"
            )


def _empty(task: Task, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """A selection split without rows, with the columns that rows would have."""
    features = PROMPTS
    if isinstance(task, LabelledTask):
        types = "token_type_ids" in tokenizer.model_input_names
        features = _labelled_features(task, token_types=types)
    return Dataset.from_dict({name: [] for name in features}, features=features)


def _encode_sets(
    parts: list[Part], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Dataset, dict[str, Any]]:
    """The evaluation sets one after the other; `item` goes on from one to the next."""
    found: list[Dataset] = []
    facts: dict[str, Any] = {}
    start = 0
    for part in parts:
        encoded, counts = _encode_part(part, tokenizer, max_length)
        own = {"source": describe(part.task), **counts, **_facts(encoded, tokenizer)}
        facts[part.name] = own
        items = [start + item for item in encoded["item"]]
        start = max(items) + 1
        # column by column, so that the types stay those of the features
        encoded = encoded.remove_columns("item").add_column("item", items)
        found.append(encoded.add_column("set", [part.name] * len(items)))
    totals = {key: sum(one[key] for one in facts.values()) for key in counts}
    return concatenate_datasets(found), {**totals, "sets": facts}


def _encode_labelled(
    task: LabelledTask, tokenizer: PreTrainedTokenizerBase, rows: list[Row], max_length: int
) -> tuple[Dataset, Tally]:
    texts = [[row[name] for row in rows] for name in task.text]
    encoded = tokenizer(*texts, verbose=False)
    truncated = sum(len(ids) > max_length for ids in encoded["input_ids"])
    if truncated:
        encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    data = {
        "item": [row["item"] for row in rows],
        "labels": [row[task.label_column] for row in rows],
        "input_ids": encoded["input_ids"],
    }
    if "token_type_ids" in encoded:
        data["token_type_ids"] = encoded["token_type_ids"]
    features = _labelled_features(task, token_types="token_type_ids" in encoded)
    counts = {
        "truncated": truncated,
        "empty_texts": sum(any(not row[name].strip() for name in task.text) for row in rows),
    }
    return Dataset.from_dict(data, features=features), counts


def _labelled_features(task: LabelledTask, *, token_types: bool) -> Features:
    features = {"item": Value("int64"), "labels": LABELS[task.kind], "input_ids": TOKENS}
    return Features(features | ({"token_type_ids": TOKENS} if token_types else {}))


def _encode_answers(
    task: GenerationTask, tokenizer: PreTrainedTokenizerBase, rows: list[Row], max_length: int
) -> tuple[Dataset, Tally]:
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UserError(f"{tokenizer.name_or_path}: no end-of-text token, so answers cannot end")
    kept = _answered(task, rows)
    prompts = tokenizer([task.prompt.format(**row) for row in kept], verbose=False)["input_ids"]
    answers = [task.answer.format(**row) for row in kept]
    answer_ids = tokenizer(answers, add_special_tokens=False, verbose=False)["input_ids"]
    features = Features({"item": Value("int64"), "input_ids": TOKENS, "labels": TOKENS})
    data: dict[str, list[Any]] = {name: [] for name in features}
    truncated = 0
    for row, prompt, answer in zip(kept, prompts, answer_ids, strict=True):
        ids = [*prompt, *answer, eos]
        truncated += len(ids) > max_length
        if len(prompt) < max_length:
            data["item"].append(row["item"])
            data["input_ids"].append(ids[:max_length])
            data["labels"].append([*[IGNORED] * len(prompt), *answer, eos][:max_length])
    counts = {
        "truncated": truncated,
        "dropped_empty_answers": len(rows) - len(kept),
        "dropped_long_prompts": len(kept) - len(data["item"]),
        "empty_prompts": _empty_prompts(task, kept),
    }
    return Dataset.from_dict(data, features=features), counts


def _encode_prompts(
    task: GenerationTask, tokenizer: PreTrainedTokenizerBase, rows: list[Row], max_length: int
) -> tuple[Dataset, Tally]:
    kept = _answered(task, rows)
    prompts = tokenizer([task.prompt.format(**row) for row in kept], verbose=False)["input_ids"]
    data = {
        "item": [row["item"] for row in kept],
        # the end of a prompt asks for the answer
        "input_ids": [ids[-max_length:] for ids in prompts],
        "answer": [task.answer.format(**row) for row in kept],
    }
    _check_gold(task, kept, data["answer"])
    features = PROMPTS
    if task.options is not None:
        data["options"] = _options(task, task.options, kept, data["answer"])
        features = Features(PROMPTS | {"options": List(Value("string"))})
    counts = {
        "truncated": sum(len(ids) > max_length for ids in prompts),
        "dropped_empty_answers": len(rows) - len(kept),
        "empty_prompts": _empty_prompts(task, kept),
    }
    return Dataset.from_dict(data, features=features), counts


def _answered(task: GenerationTask, rows: list[Row]) -> list[Row]:
    """The rows whose answer is not empty."""
    kept = [row for row in rows if all(str(row[name]).strip() for name in fields(task.answer))]
    if not kept:
        raise UserError(f"task {task.name}: all answers are empty; see the template 'answer'")
    return kept


def _empty_prompts(task: GenerationTask, rows: list[Row]) -> int:
    names = fields(task.prompt)
    return sum(any(not str(row[name]).strip() for name in names) for row in rows)


def _check_gold(task: GenerationTask, rows: list[Row], answers: list[str]) -> None:
    """Refuse rows that no reply could answer rightly, before anything is trained."""
    for role, rule in task.answers.items():
        for row, answer in zip(rows, answers, strict=True):
            if EXTRACTORS[rule.gold](answer) is None:
                raise UserError(
                    f"task {task.name}, row {row['item']}: the extractor {rule.gold} "
                    f"(answers.{role}) finds nothing in the gold answer {answer!r}"
                )


def _options(
    task: GenerationTask, options: Options, rows: list[Row], answers: list[str]
) -> list[list[str]]:
    """The options of each row; refuse rows whose gold answer is none of theirs."""
    found = [options.of(task.prompt.format(**row)) for row in rows]
    for row, own, answer in zip(rows, found, answers, strict=True):
        if answer not in own:
            raise UserError(
                f"task {task.name}, row {row['item']}: the gold answer {answer!r} is none of its "
                f"options, {own}; see the key options"
            )
    return found


def _facts(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Row and token counts, and a hash of the content that no file format changes."""
    lengths, unknown, digest = [], 0, hashlib.sha256()
    contents: set[str] = set()
    for row in rows.to_list():
        lengths.append(len(row["input_ids"]))
        unknown += row["input_ids"].count(tokenizer.unk_token_id)
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        contents.add(json.dumps(row | {"item": None}, sort_keys=True))
    return {
        "rows": len(rows),
        # kept: the data sets have them, and so do published scores
        "duplicates": len(rows) - len(contents),
        # 0 where there is no row
        "tokens": {
            "min": min(lengths, default=0),
            "median": median(lengths or [0]),
            "max": max(lengths, default=0),
            "total": sum(lengths),
        },
        "unknown_tokens": unknown,
        "sha256": digest.hexdigest(),
    }
