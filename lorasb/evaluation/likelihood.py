"""How likely a model finds given answers: the loss of the gold one, and the likeliest option.

Where replies are near chance, a reply tells one bit at most; the likelihood of the gold answer
tells how far training moved the model on every row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lorasb.errors import UserError
from lorasb.models.label_logits import IGNORED, SHIFTED, at_labels
from lorasb.models.spec import LOGITS_AT_ONCE
from lorasb.tasks.collate import Collator
from lorasb.tasks.task import Row

Answer = tuple[Row, str]  # a row with its prompt's `input_ids`, and the answer's text


def likelihoods(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    batch_size: int,
    *,
    progress: bool = False,
) -> list[Row]:
    """`answer_loss` of each row and, where it has `options`, each one's log-likelihood by its text.

    `answer_loss` is the mean over the gold answer's tokens and the end-of-text token, in nats: what
    training minimises. An option's log-likelihood is the sum over its own tokens. Prompt and answer
    are tokenised apart, as in training. To be called in evaluation mode, without gradients.

    Raises
    ------
    UserError
        If one is not finite.
    """
    asked: dict[tuple[int, str], None] = {}
    for index, row in enumerate(rows):
        asked |= dict.fromkeys((index, text) for text in (row["answer"], *row.get("options", ())))
    answers = [(rows[index], text) for index, text in asked]
    values = _token_values(model, tokenizer, answers, batch_size, progress)
    found = dict(zip(asked, values, strict=True))
    return [
        {"answer_loss": -sum(gold) / len(gold)}
        | ({"options": {text: sum(found[index, text][:-1]) for text in options}} if options else {})
        for index, row in enumerate(rows)
        for gold, options in [(found[index, row["answer"]], row.get("options", ()))]
    ]


def choices(options: dict[str, float]) -> dict[str, str]:
    """The likeliest option: by its likelihood, and by that over its number of characters.

    These are `acc` and `acc_norm` of lm-evaluation-harness; of equal ones the first.
    """
    return {
        "choice": max(options, key=options.__getitem__),
        "choice_norm": max(options, key=lambda text: options[text] / len(text)),
    }


def _token_values(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[Answer],
    batch_size: int,
    progress: bool,
) -> list[list[float]]:
    """Log-likelihoods of the tokens of each answer, the end-of-text token's last."""
    texts = [text for _, text in answers]
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    samples = [
        _sample(row["input_ids"], [*ids, tokenizer.eos_token_id])
        for (row, _), ids in zip(answers, encoded, strict=True)
    ]
    lengths = [len(sample["input_ids"]) for sample in samples]
    config: Any = model.config
    batches = list(_batches(lengths, batch_size, config.get_text_config().vocab_size))
    collate = Collator(tokenizer)
    found: dict[int, list[float]] = {}
    for chosen in tqdm(batches, desc="likelihood", file=sys.stderr, disable=not progress):
        values = _batch_values(model, collate([samples[index] for index in chosen]))
        found.update(zip(chosen, values, strict=True))
    return [found[index] for index in range(len(samples))]


def _batches(lengths: list[int], batch_size: int, vocabulary: int) -> Iterator[list[int]]:
    """Numbers of samples of similar length: `batch_size`, or as many as memory has logits for.

    The longest come first: too large a batch fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        fitting = LOGITS_AT_ONCE // (lengths[order[0]] * vocabulary)
        rows = max(1, min(batch_size, fitting))
        yield order[:rows]
        order = order[rows:]


def _sample(prompt: list[int], answer: list[int]) -> Row:
    return {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}


def _batch_values(model: torch.nn.Module, batch: dict[str, Any]) -> list[list[float]]:
    device = next(model.parameters()).device
    inputs = at_labels(model, {name: value.to(device) for name, value in batch.items()})
    logits = model(**inputs).logits
    labels = inputs.get(SHIFTED)
    if labels is None:
        logits, labels = logits[:, :-1], inputs["labels"][:, 1:]
    labelled = labels != IGNORED
    values = -F.cross_entropy(logits[labelled].float(), labels[labelled], reduction="none")
    if not values.isfinite().all():
        raise UserError("the likelihood of an answer is not finite; was the model trained well?")
    return [part.tolist() for part in torch.split(values, labelled.sum(dim=1).tolist())]
