"""The benchmark runs, at a tiny size; no time is asserted."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.__main__ import main
from lorasb.stages.bench import summary

SIZES = {"rank": 2, "hidden": 64, "layers": 1, "samples": 2, "tokens": 4, "rounds": 1}
TINY = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("what", "floor", "others"),
    [
        ("step", "frozen base", ["R between", "PEFT's LoRA", "full fine-tuning"]),
        ("start", "a forward and backward", ["estimate, decompose", "PEFT's LoRA-GA"]),
    ],
)
def test_a_table_has_the_floor_and_what_stands_beside_it(what, floor, others, capsys):
    assert main(["bench", what, *TINY]) == 0
    head, first, *lines, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["seconds", "ratio", "least", "largest"]
    assert first.startswith(floor)
    assert first.split()[-3:] == ["1.000"] * 3
    assert len(lines) == len(others)
    assert all(line.startswith(name) for line, name in zip(lines, others, strict=True))


def test_ratios_are_those_of_each_round():
    table = summary(pd.DataFrame({"floor": [1.0, 2.0, 4.0], "other": [2.0, 6.0, 4.0]}))
    assert table.loc["other"].tolist() == [4.0, 2.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "bench 'stop': unknown; known: step, start"),
        (["step", "--rounds", "0"], "rounds 0: at least 1"),
        (["step", "--rank", "99", "--hidden", "64"], "rank 99: at most the hidden size, 64"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 1
    assert message in capsys.readouterr().err
