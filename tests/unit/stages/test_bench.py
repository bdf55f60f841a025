"""The benchmark runs, at a tiny size; no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lorasb.__main__ import main
from lorasb.bench import measure
from lorasb.bench.actions import Setup, kept_megabytes
from lorasb.bench.measure import summary, timed

SIZES = {"rank": 2, "hidden": 64, "layers": 1, "samples": 2, "tokens": 4, "rounds": 1}
TINY = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("kind", "dtype", "floor", "others"),
    [
        ("step", "bfloat16", "frozen base", ["R between", "PEFT's LoRA", "full fine-tuning"]),
        ("start", "float32", "a forward", ["estimate", "PEFT's LoRA-GA", "PEFT's LoRA"]),
    ],
)
def test_a_table_has_the_floor_and_what_stands_beside_it(kind, dtype, floor, others, capsys):
    assert main(["bench", kind, "--dtype", dtype, *TINY]) == 0
    head, first, *lines, last = capsys.readouterr().out.splitlines()
    columns = ["seconds", "ratio", "least", "largest", "peak_mb", *["kept_mb"] * (kind == "step")]
    assert head.split() == columns
    assert first.startswith(floor)
    assert first.split()[-len(columns) + 1 :][:3] == ["1.000"] * 3
    assert len(lines) == len(others)
    assert all(line.startswith(name) for line, name in zip(lines, others, strict=True))
    # of a process: Python and torch alone take more than 100 MB
    peaks = [float(line.split()[4 - len(columns)]) for line in (first, *lines)]
    assert all(100 < peak < 1e5 for peak in peaks)
    assert f"{dtype} on cpu" in last


def test_ratios_are_those_of_each_round():
    table = summary(pd.DataFrame({"floor": [1.0, 2.0, 4.0], "other": [2.0, 6.0, 4.0]}))
    assert table.loc["other"].tolist() == [4.0, 2.0, 1.0, 3.0]


def test_what_an_action_needs_is_made_anew_and_not_timed(monkeypatch):
    clock, made = [0.0], []
    monkeypatch.setattr(measure.time, "process_time", lambda: clock[0])

    def spend(seconds: float) -> None:
        clock[0] += seconds

    def prepare():
        made.append(clock[0])
        spend(100.0)
        return lambda: spend(2.0)

    assert timed({"one": prepare}, 3, "cpu")["one"].tolist() == [2.0] * 3
    assert len(set(made)) == 4  # rounds, and the one that does not count


def job(name: str, log: str, began: float, ended: float) -> None:
    """A record as Snakemake keeps one for each file of a job."""
    path, rule = Path(".snakemake/metadata") / name, log.split("/")[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"rule": rule, "log": [log], "starttime": began, "endtime": ended, "incomplete": False}
    path.write_text(json.dumps(kept))


def test_jobs_of_a_run_are_counted_once_by_rule(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "@long/b"):  # two files of one job, one of them with a long path
        job(name, "logs/train/mine/llama/seed0.log", 10.0, 13.0)
    job("c", "logs/train/mine/llama/seed1.log", 11.0, 16.0)
    job("d", "logs/collect/mine.log", 16.0, 18.0)
    job("e", "logs/collect/mine-too.log", 0.0, 99.0)
    assert main(["bench", "run", "--results", "mine"]) == 0
    _, _, *rows, last = capsys.readouterr().out.splitlines()
    assert [row.split() for row in rows] == [
        ["train", "2", "8.000", "4.000", "0.800"],
        ["collect", "1", "2.000", "2.000", "0.200"],
    ]
    assert last == "3 jobs, 10 s in them, 8 s from first to last"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "bench 'stop': unknown; known: start, step, run"),
        (["step", "--rounds", "0"], "rounds 0: at least 1"),
        (["step", "--tokens", "0"], "tokens 0: at least 1"),
        (["step", "--rank", "99", "--hidden", "64"], "rank 99: at most the hidden size, 64"),
        (["step", "--dtype", "float8"], "dtype 'float8': unknown; known: bfloat16, float16, "),
        (["start", "--device", "gpu"], "device 'gpu': "),
        (["run", "--results", "mine"], ".snakemake/metadata: no job of mine; run `snakemake "),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_what_is_kept_for_backward_is_activations_and_not_weights():
    setup = Setup(2, 64, 1, samples=2, tokens=4, dtype="float32", device="cpu")
    longer = Setup(2, 64, 1, samples=2, tokens=8, dtype="float32", device="cpu")
    base, twice, ours, lora = (
        kept_megabytes(size, name)
        for size, name in (
            (setup, "frozen base"),
            (longer, "frozen base"),
            (setup, "R between frozen factors"),
            (setup, "PEFT's LoRA"),
        )
    )
    assert twice == pytest.approx(2 * base, rel=0.05)  # rotations of positions are kept once
    # LoRA keeps its layer's inputs, and an r-vector a token; this tuner the vector alone
    assert ours < 1.05 * base < lora
