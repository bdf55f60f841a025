"""A word-level tokenizer and small tasks."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lorasb.tasks.task import GenerationTask, LabelledTask, Task
from tests.unit.tiny import VOCABULARY

PAD, EOS, UNKNOWN, START, SEPARATOR = range(5)
SPECIAL = ["<pad>", "<eos>", "<unk>", "<s>", "<sep>"]

GENERATED = {
    "label": "Generated",
    "kind": "generation",
    "data_version": 1,
    "score_version": 1,
    "source": {"loader": "generated", "family": "arithmetic"},
    "splits": {"train": {"rows": 6}, "selection": {"rows": 3}, "test": {"rows": 4}},
    "prompt": "{question}",
    "answer": "{answer}",
    "max_new_tokens": 5,
    "answers": {"strict": "whole_answer", "flexible": "whole_answer"},
    "metrics": ["accuracy_flexible", "accuracy_strict"],
    "primary": "accuracy_flexible",
}
LABELLED = {
    "label": "Labelled",
    "kind": "classification",
    "data_version": 1,
    "score_version": 1,
    "source": {"loader": "hub", "path": "someone/something", "name": None, "revision": None},
    "splits": {
        "train": {"from": "train", "rows": None},
        "selection": {"from": "train", "rows": 4},
        "test": {"from": "validation", "rows": None},
    },
    "columns": {"text": ["sentence"], "label": "label"},
    "num_labels": 2,
    "metrics": ["accuracy"],
    "primary": "accuracy",
}


SET = {"label": "Set", "from": "test", "rows": None}
SETS = {
    "label": "Sets",
    "kind": "generation",
    "data_version": 1,
    "score_version": 1,
    "source": {"loader": "hub", "path": "someone/training", "name": None, "revision": None},
    "splits": {
        "train": {"from": "train", "rows": None},
        "selection": {"from": "train", "rows": 2},
        "test": {
            "sets": {
                "short": SET | {"max_new_tokens": 2},
                "long": SET
                | {
                    "source": {
                        "loader": "hub",
                        "path": "someone/other",
                        "name": None,
                        "revision": None,
                    },
                    "prompt": "w30 {question}",
                    "answers": {"strict": "whole_answer", "flexible": "option"},
                },
            }
        },
    },
    "prompt": "{question}",
    "answer": "{answer}",
    "max_new_tokens": 5,
    "answers": {"strict": "whole_answer", "flexible": "whole_answer"},
    "metrics": ["accuracy_flexible", "accuracy_strict"],
    "primary": "accuracy_flexible",
}


def sets_task(**changes: Any) -> GenerationTask:
    """A task with two evaluation sets, the second with a source, prompt and rule of its own."""
    task = Task.from_config("sets", SETS | changes)
    assert isinstance(task, GenerationTask)
    return task


def generation_task(**changes: Any) -> GenerationTask:
    task = Task.from_config("generated", GENERATED | changes)
    assert isinstance(task, GenerationTask)
    return task


def labelled_task(**changes: Any) -> LabelledTask:
    task = Task.from_config("labelled", LABELLED | changes)
    assert isinstance(task, LabelledTask)
    return task


def regression_task(**changes: Any) -> LabelledTask:
    metrics = {"metrics": ["pearson", "spearman"], "primary": "pearson"}
    return labelled_task(**{"kind": "regression", "num_labels": 1} | metrics | changes)


def word_tokenizer(*, pairs: bool = False, start: bool = False) -> PreTrainedTokenizerBase:
    """Words w5, w6, ...; with `pairs` as BERT puts pairs together, with `start` as Llama starts."""
    words = [*SPECIAL, *(f"w{index}" for index in range(len(SPECIAL), VOCABULARY))]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    names = ["input_ids", "attention_mask"]
    if pairs:
        names.append("token_type_ids")
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A <sep>",
            pair="<s> $A <sep> $B:1 <sep>:1",
            special_tokens=[("<s>", START), ("<sep>", SEPARATOR)],
        )
    elif start:
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", START)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_input_names=names,
    )
