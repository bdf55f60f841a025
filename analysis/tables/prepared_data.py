"""What each task was prepared from: rows, tokens, and what was cut, left out or empty."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis import formats
from analysis.names import Names
from analysis.tidy import read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COUNTS = {
    "rows": "Rows",
    "tokens_total": "Tokens",
    "tokens_median": "Median",
    "tokens_max": "Longest",
    "truncated": "Truncated",
    "overlap_exact": "In training",
    "overlap_normalised": "Alike",
    "overlap_left": "Alike, left",
    "dropped_overlap": "Dropped",
    "dropped_unlabelled": "No label",
    "dropped_blank": "Blank, left out",
    "dropped_empty_answers": "No answer",
    "dropped_long_prompts": "No room",
    "empty": "Blank",
    "duplicates": "Duplicates",
    "unknown_tokens": "Unknown tokens",
}
DATA = ["model", "task", "split", "set", "rows", "empty_texts", "empty_prompts"]

NOTES = [
    "Median and longest: tokens of a row. Truncated: rows cut to the longest length allowed. Left"
    " out: rows with no answer, rows with no label and blank ones where the task says so, and"
    " training rows whose prompt leaves no room for an answer. Kept: other rows with a blank text,"
    " duplicates of an earlier row, unknown tokens (their number).",
    "In training: rows whose text or prompt is that of a training row; alike: also with other case,"
    " blanks or punctuation. Dropped: training rows that are alike a row of a split cut from the"
    " same data, or of another split that asks for it. Left: rows still alike a training row.",
    "The test split is read once, for the reported scores; learning rates are chosen on the"
    " selection split.",
]


def counted(data: pd.DataFrame) -> pd.DataFrame:
    """The tidy table `data` with `empty`, the rows whose text or prompt is blank."""
    return data.assign(empty=data["empty_texts"].fillna(data["empty_prompts"]))


def printed(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """The same as text; a column without any number is left out."""
    text = pd.DataFrame(
        {
            "Model": table["model"].map(names.model),
            "Task": table["task"].map(names.task),
            "Split": [
                split if pd.isna(part) else f"{split}, {names.set(part)}"
                for split, part in zip(table["split"], table["set"], strict=True)
            ],
        }
    )
    for column, name in COUNTS.items():
        # tables that were made before a count was have no such column
        if column in table and table[column].notna().any():
            text[name] = table[column].map(formats.count)
    return formats.without_single_model(text)


if "snakemake" in globals():
    table = counted(read(snakemake.input.data, needs=DATA))
    formats.write(
        table,
        printed(table, Names.read(snakemake.input.names)),
        NOTES,
        **dict(snakemake.output.items()),
    )
