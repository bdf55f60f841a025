"""The command line: one line and a non-zero exit for what the user can mend."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lorasb
from lorasb.__main__ import VERBS, main

ROOT = Path(__file__).resolve().parents[2]
CELL = ["--study", "quickstart", "--model", "quickstart-llama", "--task", "world", "--seed", "0"]
GRADIENT = [*CELL, "--samples", "64"]
TRAIN = ["train", *CELL, "--variant", "lora-sb", "--rank", "4", "--lr", "5e-2"]


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"lorasb {arguments[0]}: error: ")
    return captured.err


CELL_OPTIONS = {"study", "model", "task", "variant", "rank", "lr", "seed"}


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("train", {*CELL_OPTIONS, "cell-hash", "threads"}),
        ("predict", {*CELL_OPTIONS, "threads"}),
        ("score", {"study", "model", "task", "split", "available"}),
        ("factorize-weights", {"study", "model", "threads"}),
        ("publish", {"study", "available", "large"}),
        ("plan", {"study", "teraflops"}),
        ("byte-model", {"output"}),
    ],
)
def test_options_of_a_verb_are_the_parameters_of_its_function(capsys, verb, options):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    listed = re.findall(r"^  (?:-h, )?--([a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert set(listed) - {"help"} == options


def test_every_verb_can_be_asked_for_help(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"lorasb {lorasb.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_each_verb_and_the_options_of_a_cell(capsys, shell):
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in script] == []
    assert "--cell-hash" in script


def test_without_a_verb_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "usage: lorasb" in capsys.readouterr().err


def test_a_verb_of_the_suite_names_the_extra_when_the_tuner_alone_is_installed(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.delitem(sys.modules, "lorasb.config.read", raising=False)
    monkeypatch.delitem(sys.modules, "lorasb.study.study", raising=False)
    message = fails(capsys, TRAIN)
    assert "needs the package jsonschema: pip install 'lorasb[suite]'" in message


def test_a_verb_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["trian"])
    assert ended.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


ROBERTA = ["count", "--model", "roberta-large", "--method"]


def test_count_prints_json(capsys):
    assert main([*ROBERTA, "lora-sb", "--rank", "24", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["trainable"], report["task_head"]) == (55296, 1051650)
    assert len(report["per_module"]) == 96
    assert main([*ROBERTA, "lora-sb,full", "--rank", "24", "--json"]) == 0
    assert [one["method"] for one in json.loads(capsys.readouterr().out)] == ["lora-sb", "full"]


def test_count_answers_which_method_fits(capsys):
    arguments = ["--method", "lora-sb,lora,lora-xs,full", "--rank", "32,96"]
    budget = ["--adapters", "1000", "--memory", "24GB"]
    assert main(["count", "--model", "mistral-7b", *arguments, *budget]) == 0
    head, _, names, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("Mistral-7B, base 14.5 GB")
    assert names.split()[-1] == "memory"
    # 14.5 GB of base, LoRA-XS's bases once (1.01 GB), 1,000 times 4 bytes of 96^2 x 224 numbers
    assert [line.split()[:2] for line in lines[:2]] == [["lora-xs", "32"], ["lora-xs", "96"]]
    assert lines[1].split()[2:] == [
        *["2,064,384", "8.26", "MB", "1.01", "GB"],
        *["15.5", "GB", "23.7", "GB", "fits"],
    ]
    assert all(line.endswith("above 24 GB") for line in lines[2:])
    # one line for what has no rank
    assert [line.split()[:2] for line in lines if "full" in line] == [["full", "-"]]
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "mistral-7b", "--method", "lora-sbb", "--rank", "4"],
            "did you mean 'lora-sb'",
        ),
        (["--model", "mistral", "--method", "lora", "--rank", "4"], "did you mean 'mistral-7b'"),
        (["--model", "quickstart-llama", "--method", "lora-sb", "--rank", "200"], "at most 128"),
        (["--model", "quickstart-llama", "--method", "lora-sb"], "a rank is at least 1"),
        (["--model", "roberta-large", "--method", "lora", "--rank", "4,x"], "--rank x: whole"),
        (["--model", "roberta-large", "--method", "full", "--memory", "24"], "such as 24GB"),
    ],
)
def test_count_names_what_is_wrong(capsys, arguments, message):
    assert message in fails(capsys, ["count", *arguments])


OPTIONS = {
    "train": TRAIN[1:],
    "predict": TRAIN[1:],
    "prepare-task": CELL[:6],
    "score": [*CELL[:6], "--split", "test"],
    "estimate-gradient": GRADIENT,
    "factorize-gradient": GRADIENT,
}
CELLS, TASKS, STARTS = list(OPTIONS)[:2], list(OPTIONS)[2:4], list(OPTIONS)[4:]


@pytest.mark.parametrize(
    ("verbs", "changed", "message"),
    [
        (CELLS, "--lr 0.05", "unknown lr '0.05'; known: 5e-2"),
        (CELLS, "--lr 5e-02", "unknown lr '5e-02'; did you mean '5e-2'"),
        (CELLS, "--lr nan", "unknown lr 'nan'"),
        (CELLS, "--rank 32", "unknown rank '32'; known: 4, 16"),
        (CELLS, "--rank 0", "unknown rank '0'; known: 4, 16"),
        (CELLS, "--rank 4.0", "unknown rank '4.0'"),
        (CELLS, "--seed 7", "unknown seed '7'; known: 0, 1, 2, 100"),
        (CELLS, "--variant dora", "unknown variant 'dora'"),
        (TASKS, "--task wrold", "unknown task 'wrold'; did you mean 'world'"),
        (TASKS, "--model mistral-7b", "unknown model 'mistral-7b'"),
        (TASKS, "--study quick", "unknown study 'quick'"),
        (["score"], "--split tset", "unknown split 'tset'; did you mean 'test'"),
        (STARTS, "--samples 0", "unknown samples '0'; known: 64"),
        (STARTS, "--seed -1", "unknown seed '-1'"),
        (STARTS, "--task wrold", "unknown task 'wrold'"),
    ],
)
def test_what_the_study_does_not_have_is_refused(project, capsys, verbs, changed, message):
    for verb in verbs:
        # the last of two values of an option counts
        assert message in fails(capsys, [verb, *OPTIONS[verb], *changed.split()])
    assert not (project / "results").exists()


def test_training_without_prepared_data(project, capsys):
    assert "train.parquet: no such file" in fails(capsys, TRAIN)
    # what failed is recorded for the tables, and nothing looks like an output
    (failed,) = (project / "results").rglob("failed.json")
    assert "no such file" in json.loads(failed.read_text())["reason"]
    assert not list((project / "results").rglob("adapter"))


def test_settings_that_changed_since_planning(project, capsys):
    assert "changed since the workflow planned it" in fails(capsys, [*TRAIN, "--cell-hash", "0"])


@pytest.fixture
def prepared(project, capsys):
    assert main(["prepare-task", *CELL[:6]]) == 0
    capsys.readouterr()
    return project


def test_training_without_factors(prepared, capsys):
    assert "factors.safetensors: no such file" in fails(capsys, TRAIN)


def test_missing_and_truncated_gradient(prepared, capsys):
    verb = ["factorize-gradient", *GRADIENT]
    assert "gradient.safetensors" in fails(capsys, verb)
    assert main(["estimate-gradient", *GRADIENT]) == 0
    capsys.readouterr()
    (path,) = prepared.rglob("gradient.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    assert "gradient.safetensors" in fails(capsys, verb)


def test_missing_model_folder(prepared, capsys):
    (prepared / "resources/quickstart/model/model.safetensors").unlink()
    assert "resources/quickstart/model" in fails(capsys, ["estimate-gradient", *GRADIENT])


def test_target_module_that_matches_nothing(project, capsys):
    path = project / "config/models/quickstart-llama.yaml"
    path.write_text(path.read_text().replace("q_proj", "q_porj"))
    for verb in (
        ["prepare-task", *CELL[:6]],
        ["estimate-gradient", *GRADIENT],
        ["plan", *CELL[:2]],
    ):
        assert "target module 'q_porj' matches no linear layer" in fails(capsys, verb)


def test_loss_that_is_not_finite(prepared, capsys):
    weights = prepared / "resources/quickstart/model/model.safetensors"
    state = load_file(weights)
    state["model.norm.weight"] = torch.full_like(state["model.norm.weight"], float("inf"))
    save_file(state, weights, metadata={"format": "pt"})
    weights.with_name("SHA256SUMS").unlink()  # as for a change that is meant
    assert main(["train", *CELL, "--variant", "full", "--rank", "0", "--lr", "1e-3"]) == 1
    assert "error: training: loss is nan at step 1" in capsys.readouterr().err
    (failed,) = (prepared / "results").rglob("failed.json")
    assert "a lower one would be right" in json.loads(failed.read_text())["reason"]


WORKS = """
import sys, time
from pathlib import Path
from lorasb import __main__ as door
from lorasb.files import atomic, atomic_folder

def count(model: str) -> None:
    with atomic_folder("folder") as folder, atomic("file") as partial:
        partial.touch()
        print("works", flush=True)
        time.sleep(60)

door._function = lambda name: count
sys.exit(door.main(["count", "--model", "x"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_is_a_line_and_a_status_and_leaves_nothing_half_written(tmp_path, number, status):
    running = subprocess.Popen(
        [sys.executable, "-c", WORKS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout.readline() == "works\n"
    assert len(list(tmp_path.iterdir())) == 2
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert said == f"lorasb count: ended by {number.name}; give the same command again to go on\n"
    assert running.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_signals_are_as_before_after_a_verb(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(COUNT) == 0
    assert signal.getsignal(signal.SIGTERM) == before


COUNT = ["count", "--model", "quickstart-llama", "--method", "lora-sb", "--rank", "4"]
COUNTS = [sys.executable, "-m", "lorasb", *COUNT]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_finds_no_room():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            COUNTS, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("lorasb count: error: no space left on device; make room")
    assert done.stderr.count("\n") == 1


def test_reader_that_has_gone_ends_it_without_a_word():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        COUNTS, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_closed_streams_are_no_error():
    words = " ".join(COUNTS)
    done = subprocess.run(["sh", "-c", f"{words} >&-"], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    wrong = f"{words.replace('quickstart', 'quickstrat')} 2>&-"
    assert subprocess.run(["sh", "-c", wrong], cwd=ROOT, check=False).returncode == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "", "results/a"), "results/a: permission denied; change"),
        (OSError(errno.EROFS, "", "results/a"), "results/a: read-only file system; change"),
        (FileNotFoundError(errno.ENOENT, "", "/home/x"), "/home/x: no such file or directory"),
    ],
)
def test_what_the_system_refuses_is_a_line(monkeypatch, capsys, error, line):
    def refused(*arguments):
        raise error

    monkeypatch.setattr("lorasb.stages.count.count_report", refused)
    assert fails(capsys, [*COUNT, "--json"]).startswith(f"lorasb count: error: {line}")


def test_line_does_not_stand_behind_an_unfinished_bar(monkeypatch, capsys):
    from tqdm import tqdm

    bars = []

    def fails_half_way(*arguments):
        bars.append(tqdm(total=2, desc="half", file=sys.stderr))
        raise OSError(errno.ENOSPC, "", "results/a")

    monkeypatch.setattr("lorasb.stages.count.count_report", fails_half_way)
    assert main([*COUNT, "--json"]) == 1
    line = "lorasb count: error: results/a: no space left on device"
    assert f"\r{line}" in capsys.readouterr().err


def test_fault_of_the_code_keeps_its_traceback(monkeypatch):
    def faulty(*arguments):
        raise OSError("what a library says")

    monkeypatch.setattr("lorasb.stages.count.count_report", faulty)
    with pytest.raises(OSError, match="what a library says"):
        main([*COUNT, "--json"])


def test_file_in_the_place_of_the_results(project, capsys):
    (project / "results").touch()
    message = fails(capsys, ["check-exact-claims", "--study", "quickstart"])
    assert "results: not a directory; move away what is there" in message
    assert (project / "results").read_bytes() == b""
