from __future__ import annotations

import pandas as pd
import pytest

from analysis import style
from analysis.names import COLUMNS, Names
from analysis.tidy import TableError
from tests.analysis.conftest import NAMES, NAMES_TABLE, STYLES


def of_variants(*variants: str) -> Names:
    """Names of variants without a style of their own."""
    return Names(
        pd.DataFrame([("variant", name, name, "", "", "") for name in variants], columns=COLUMNS)
    )


def test_labels_are_those_of_the_table():
    assert NAMES.model("quickstart-llama") == "Quickstart Llama"
    assert NAMES.task("stsb") == "STS-B"
    assert NAMES.set("gsm8k") == "GSM8K"
    assert NAMES.label("full") == "full fine-tuning"
    assert NAMES.label("lora-sb", 16) == "LoRA-SB, r = 16"


def test_unknown_names_show_as_themselves():
    assert [NAMES.model("x"), NAMES.task("x"), NAMES.set("x"), NAMES.label("x")] == ["x"] * 4
    # a name belongs to its kind
    assert NAMES.task("gsm8k") == "gsm8k"
    assert NAMES.label("of-my-own", 8) == "of-my-own, r = 8"


def test_order_is_that_of_the_table_then_by_name():
    shuffled = ["zeta", "lora-sb", "dora", "full", "base", "dora", "alpha"]
    assert NAMES.ordered(shuffled) == ["base", "full", "lora-sb", "dora", "alpha", "zeta"]


def test_own_styles_are_the_same_in_any_company():
    alone = NAMES.styles(["lora-sb"])["lora-sb"]
    assert alone == NAMES.styles(["lora-sb", "a-new-one", "full"])["lora-sb"]
    assert (alone.color, alone.marker, alone.line) == STYLES["lora-sb"]


def test_a_style_may_have_no_marker():
    assert NAMES.styles(["base"])["base"] == style.Style("#777777", "", ":")


def test_free_styles_are_distinct_and_given_in_display_order():
    variants = [f"variant-{number:02}" for number in range(20)]
    names = of_variants(*reversed(variants))
    looks = names.styles(variants)
    assert looks == names.styles(reversed(variants))
    assert len(set(looks.values())) == 20
    assert looks["variant-19"] == style.FREE[0]


def test_too_many_variants_are_refused():
    with pytest.raises(ValueError, match="60 variants"):
        of_variants().styles(f"variant-{number}" for number in range(60))


def test_table_is_read_as_it_was_written(tmp_path):
    table = pd.concat(
        [NAMES_TABLE, pd.DataFrame([("task", "nan", "NA", "", "", "")], columns=COLUMNS)]
    )
    table.to_csv(tmp_path / "names.csv", index=False)
    names = Names.read(tmp_path / "names.csv")
    assert names.task("nan") == "NA"
    assert names.styles(["base", "full"]) == NAMES.styles(["base", "full"])


def test_missing_column_is_named(tmp_path):
    NAMES_TABLE.drop(columns="label").to_csv(tmp_path / "names.csv", index=False)
    with pytest.raises(TableError, match="label"):
        Names.read(tmp_path / "names.csv")
