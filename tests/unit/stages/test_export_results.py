"""Files of cells in lm-evaluation-harness's schema, from tables made here and released ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.report.others import read_others
from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.stages.export_results import export_results

ROOT = Path(__file__).parents[3]
CELL = {"model": "m", "task": "cs", "variant": "lora-sb", "rank": 4, "lr": "1e-2", "seed": 3}
# keys of the schema that every result has (lm_eval 0.4, result_schema.py)
KEYS = {"results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better"}
KEYS |= {"n-samples", "config", "model_source", "model_name", "model_name_sanitized"}


@pytest.fixture
def tables(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/tiny/tables"
    folder.mkdir(parents=True)
    rows = [
        CELL | {"set": part, "metric": metric, "value": value, "items": items}
        for part, metric, value, items in (
            (None, "accuracy_flexible", 0.5, 30),
            ("boolq", "accuracy_flexible", 0.75, 20),
            ("boolq", "answer_loss", 1.25, 20),
            ("piqa", "accuracy_flexible", 0.25, 10),
            ("piqa", "pearson", np.nan, 10),
        )
    ]
    write_csv(folder / "scores.csv", pd.DataFrame(rows))
    write_csv(folder / "runs.csv", pd.DataFrame([CELL]))
    task = {"kind": "generation", "prompt": "{question}", "score_version": 2}
    origin = {"commit": "c0ffee", "packages": json.dumps({"transformers": "5.23.0"})}
    origin |= {"config": json.dumps({"task": task})}
    write_csv(folder / "origins.csv", pd.DataFrame([CELL | origin]))
    return folder


def exported(study: str) -> list[Path]:
    export_results(study, "out")
    return sorted(Path("out").iterdir())


def to_parquet(folder: Path) -> None:
    """What a release makes of long tables."""
    for path in folder.glob("*.csv"):
        pd.read_csv(path, dtype={"lr": str}).to_parquet(path.with_suffix(".parquet"), index=False)
        path.unlink()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_cell_is_a_file_of_the_harness_s_schema(tables, form):
    if form == "parquet":
        to_parquet(tables)
    (path,) = exported("tiny")
    assert path.name == "results_m-cs-lora-sb-4-1e-2-3.json"
    data = json.loads(path.read_text())
    assert set(data) == KEYS | {"git_hash", "transformers_version"}
    assert data["results"]["cs_boolq"] == {
        "alias": "cs_boolq",
        "name": "cs_boolq",
        "sample_len": 20,
        "exact_match,flexible-extract": 0.75,
        # 15 ones and 5 zeros: their standard deviation over sqrt(20)
        "exact_match_stderr,flexible-extract": pytest.approx(
            np.std([1] * 15 + [0] * 5, ddof=1) / np.sqrt(20)
        ),
        "answer_loss,none": 1.25,
        "answer_loss_stderr,none": "N/A",
    }
    assert data["group_subtasks"] == {"cs": ["cs_boolq", "cs_piqa"]}
    assert data["higher_is_better"]["cs_boolq"] == {"exact_match": True, "answer_loss": False}
    assert data["n-samples"]["cs_piqa"] == {"original": 10, "effective": 10}
    assert data["configs"]["cs_piqa"]["output_type"] == "generate_until"
    assert (data["git_hash"], data["versions"]["cs"]) == ("c0ffee", 2)
    # what is not known is not there
    assert "pearson,none" not in data["results"]["cs_piqa"]


def test_what_goes_out_comes_in_again(tables):
    table = read_others(exported("tiny"))
    found = table.set_index(["task", "metric"])["score"].to_dict()
    assert found == {
        ("cs, 0-shot", "exact_match, flexible-extract"): 0.5,
        ("cs_boolq, 0-shot", "exact_match, flexible-extract"): 0.75,
        ("cs_boolq, 0-shot", "answer_loss"): 1.25,
        ("cs_piqa, 0-shot", "exact_match, flexible-extract"): 0.25,
    }
    assert set(table["seed"]) == {3}


def test_a_release_has_a_file_a_cell(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/published").symlink_to(ROOT / "results/published")
    monkeypatch.chdir(tmp_path)
    files = exported("directions-minilm")
    runs = pd.read_csv(ROOT / "results/published/directions-minilm/tables/runs.csv")
    assert len(files) == (runs["status"] == "ok").sum()
    data = json.loads(files[0].read_text())
    assert set(data) >= KEYS | {"git_hash"}


def test_a_folder_with_files_is_left_as_it_is(tables, tmp_path):
    kept = tmp_path / "out/mine"
    kept.parent.mkdir()
    kept.write_text("x")
    with pytest.raises(UserError, match=r"--to out: .*new or empty"):
        export_results("tiny", "out")
    assert kept.read_text() == "x"
    with pytest.raises(UserError, match=r"results/other/tables: no tables.*study=other"):
        export_results("other", "new")
    assert not Path("new").exists()
