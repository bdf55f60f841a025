from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from analysis import style
from lorasb.config import read as config


def test_order_is_from_base_to_lora_sb_then_by_name():
    names = ["zeta", "lora-sb", "dora", "full", "base", "dora"]
    assert style.ordered(names) == ["base", "full", "lora-sb", "dora", "zeta"]


def test_numbers_in_names_count_as_numbers():
    names = ["lora-sb-n100", "lora-sb-n5", "lora-sb-n25", "lora-sb-s4", "lora-sb-s0.25"]
    assert style.ordered(names) == [
        *("lora-sb-n5", "lora-sb-n25", "lora-sb-n100"),
        *("lora-sb-s0.25", "lora-sb-s4"),
    ]


@pytest.mark.parametrize("variant", config.variants())
def test_a_variant_is_called_as_its_file_says(variant):
    assert style.label(variant) == config.load_variant(variant)["label"]


@pytest.mark.parametrize("task", config.names("tasks"))
def test_a_task_is_called_as_its_file_says(task):
    assert style.task_label(task) == config.load_task_config(task)["label"]


def test_known_variants_look_the_same_in_any_company():
    alone = style.styles(["lora-sb"])
    among = style.styles(["lora-sb", "a-new-one", "full"])
    assert alone["lora-sb"] == among["lora-sb"]


def test_unknown_variants_get_distinct_styles_whatever_their_order():
    names = [f"variant-{number:02}" for number in range(20)]
    looks = style.styles(names)
    assert looks == style.styles(reversed(names))
    assert len(set(looks.values())) == 20


def test_known_styles_differ_without_colour():
    looks = style.styles(["full", "lora", "lora-xs", "lora-sb"])
    assert len({(look.marker, look.line) for look in looks.values()}) == 4
    assert len({look.marker for look in looks.values()}) == 4


def test_too_many_variants_are_refused():
    with pytest.raises(ValueError, match="30 variants"):
        style.styles(f"variant-{number}" for number in range(30))


@pytest.mark.parametrize(
    ("variant", "rank", "expected"),
    [
        ("full", 0, "full fine-tuning"),
        ("lora-sb", 16, "LoRA-SB, r = 16"),
        ("dora", 8, "DoRA, r = 8"),
        ("of-my-own", 8, "of-my-own, r = 8"),
    ],
)
def test_label(variant, rank, expected):
    assert style.label(variant, rank) == expected


def test_unknown_task_and_metric_have_readable_names():
    assert style.task_label("sst2") == "SST-2"
    assert style.task_label("arithmetic") == "Arithmetic"
    assert style.task_label("cola-authors") == "CoLA (authors)"
    assert style.metric_label("exact_match") == "Exact match"
    assert style.percent_label("accuracy") == "Accuracy (%)"
    assert style.percent_label("matthews") == "100 x Matthews correlation"


def test_smaller_ranks_are_paler_and_the_largest_has_the_full_colour():
    ranks = [4, 8, 16]
    reds = [int(style.shade("#D55E00", rank, ranks)[3:5], 16) for rank in ranks]
    assert reds == sorted(reds, reverse=True)
    assert style.shade("#D55E00", 16, ranks) == "#d55e00"


def test_saved_bytes_are_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        figure = Figure()
        figure.add_subplot().plot([1, 2], [3, 4], label="x")
        style.save(figure, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for suffix in ("pdf", "png"):
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"CreationDate" not in one
