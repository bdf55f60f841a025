from __future__ import annotations

from analysis.tables import prepared_data
from tests.analysis.conftest import NAMES, make_tables


def test_a_row_a_split_and_set(tables):
    printed = prepared_data.printed(prepared_data.counted(tables.data), NAMES)
    # no task of the tables leaves these out
    absent = {"No label", "Blank, left out"}
    expected = [name for name in prepared_data.COUNTS.values() if name not in absent]
    assert list(printed.columns) == ["Task", "Split", *expected]
    world = printed[printed["Task"] == "World"].reset_index(drop=True)
    splits = ["train", "selection", "test", "test, GSM8K", "test, MATH"]
    assert list(world["Split"]) == splits
    assert list(world["Rows"]) == ["3,200", "300", "60", "30", "30"]
    assert list(world["Tokens"])[:2] == ["64,000", "6,000"]
    assert list(world["In training"]) == ["–", *["1"] * 4]  # noqa: RUF001
    assert list(world["Dropped"]) == ["5", *["–"] * 4]  # noqa: RUF001
    assert list(world["No room"]) == ["3", *["–"] * 4]  # noqa: RUF001


def test_blank_texts_and_blank_prompts_are_one_column(tables):
    table = prepared_data.counted(tables.data)
    found = table.drop_duplicates("task").set_index("task")["empty"]
    assert dict(found) == {"arithmetic": 0, "world": 0, "sentences": 4}


def test_what_nothing_counts_has_no_column():
    table = make_tables(tasks=1).data.drop(columns=["dropped_long_prompts", "overlap_exact"])
    table = table.assign(empty_texts=None, dropped_long_prompts=None, tokens_total=None)
    printed = prepared_data.printed(prepared_data.counted(table), NAMES)
    assert not {"No room", "Tokens", "In training"} & set(printed)
    assert "Median" in printed
