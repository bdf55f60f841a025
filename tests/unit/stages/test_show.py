"""What `show` prints of released tables, and of a study of one cell made here."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lorasb.__main__ import main
from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.stages.show import show

ROOT = Path(__file__).parents[3]
CELL = "results/quickstart/runs/quickstart-llama/world/lora-sb/r16/lr2e-2/seed0"
COORDINATES = {"model": "quickstart-llama", "task": "world", "variant": "lora-sb", "rank": 16}
COORDINATES |= {"lr": "2e-2", "seed": 0}
OTHER = COORDINATES | {"seed": 1}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A folder with `config` and the tables of quickstart with two cells, the second failed."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    tables = tmp_path / "results/quickstart/tables"
    tables.mkdir(parents=True)
    done = {"status": "ok", "reason": "", "metric": "accuracy_flexible", "score": 0.81}
    failed = {"status": "failed", "reason": "loss is not finite", "metric": done["metric"]}
    write_csv(tables / "runs.csv", pd.DataFrame([COORDINATES | done, OTHER | failed]))
    origin = {"folder": CELL, "predictions_sha256": "f" * 64, "commit": "c0ffee"}
    origin |= {"packages": json.dumps({"peft": "1"}), "config": json.dumps({"steps": 7})}
    rows = [COORDINATES | origin, OTHER | {"folder": CELL.replace("seed0", "seed1")}]
    write_csv(tables / "origins.csv", pd.DataFrame(rows))
    data = [
        {"model": "quickstart-llama", "task": "world", "split": "test", "set": part, "sha256": sha}
        for part, sha in ((None, "a" * 64), ("one", "b" * 64))
    ]
    write_csv(tables / "data.csv", pd.DataFrame(data))
    return tables


def facts(text: str) -> dict[str, str]:
    """The lines of a name and a value."""
    pairs = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {name.strip(): value.strip() for name, value in pairs}


@pytest.mark.parametrize("path", [CELL, f"./{CELL}", f"{CELL}/predictions.jsonl"])
def test_a_cell_is_walked_back_to_its_origin(study, capsys, path):
    assert main(["show", path]) == 0
    text = capsys.readouterr().out
    found = facts(text)
    assert found["score (accuracy_flexible)"] == "0.81"
    assert (found["commit"], found["predictions_sha256"]) == ("c0ffee", "f" * 64)
    assert (found["packages"], found["seed"], found["rank"]) == ("peft 1", "0", "16")
    # that of the split, not of one of its sets
    assert found["sha256 of test"] == "a" * 64
    assert text.endswith('{\n  "steps": 7\n}\n')


def test_a_release_may_have_its_tables_as_parquet(study, capsys):
    """Those of large studies have."""
    show(CELL)
    before = facts(capsys.readouterr().out)
    released = study.parents[1] / "published/quickstart/tables"
    released.mkdir(parents=True)
    for name in ("runs", "origins", "data"):
        table = pd.read_csv(study / f"{name}.csv", dtype={"lr": str})
        table.to_parquet(released / f"{name}.parquet", index=False)
    shutil.rmtree(study)
    show(CELL)
    found = facts(capsys.readouterr().out)
    assert found == before | {"tables": "results/published/quickstart/tables"}


def test_a_failed_cell_has_its_reason_and_its_folder(study, capsys):
    show(CELL.replace("seed0", "seed1"))
    found = facts(capsys.readouterr().out)
    assert found["status"] == "failed: loss is not finite"
    assert found["folder"].endswith("seed1")
    assert "commit" not in found


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("quikstart", r"unknown study 'quikstart'; did you mean 'quickstart'\?.*words of a claim"),
        ("theorem 99", "unknown study 'theorem 99'"),
        ("results/quickstart/tables", r"no folder of a cell; those are results/\{study\}"),
        (CELL.replace("lr2e-2", "lr1e-2"), r"no such cell in results/quickstart/tables/runs\.csv"),
        ("glue-minilm", "no tables, and none released; run .*study=glue-minilm"),
        ("quickstart", r"accuracy\.md"),
    ],
)
def test_what_is_not_there_is_one_line(study, what, message):
    with pytest.raises(UserError, match=message):
        show(what)


def test_a_study_without_runs_here_shows_what_was_released(capsys, monkeypatch, tmp_path):
    for name in ("config", "results/published"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    show("quickstart")
    text = capsys.readouterr().out
    table = Path("results/published/quickstart/tables/accuracy.md")
    assert text.startswith(str(table))
    assert table.read_text().strip() in text
    show("As good as LORA")
    text = capsys.readouterr().out
    claims = pd.read_csv(table.with_name("claims.csv"))
    rows = claims[claims["claim"].str.contains("As good as LoRA")]
    # columns are as wide as all studies need
    assert len(re.findall("quickstart +score minus that of LoRA", text)) == len(rows) > 0
    # the table has fractions, a reader sees points
    assert f"{100 * rows['effect'].iloc[0]:.3g}" in text
    assert text.startswith("Abstract: As good as LoRA or better")


def test_many_claims_are_a_line_each(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    show("theorem")
    text = capsys.readouterr().out
    assert "Theorem 3: " in text
    assert "Theorem 6: " in text
    assert "quickstart" not in text  # no rows
    assert "with more of its words" in text
