import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lorasb.errors import UserError
from lorasb.stages.publish import publish
from lorasb.study import paths
from lorasb.study.study import Study
from tests.unit import kept

STUDY = "glue-minilm-smoke"
TABLES = paths.TABLES.format(study=STUDY)
FIGURES = paths.FIGURES.format(study=STUDY)
RELEASE = f"results/published/{STUDY}"
ROWS = 5000  # of `long_table`: more than 100 kB as CSV


def long_table():
    random = np.random.default_rng(0)
    loss = random.uniform(size=ROWS)
    loss[7] = np.nan
    return pd.DataFrame(
        {
            "variant": random.choice(["full", "lora-sb"], ROWS),
            "rank": random.integers(0, 99, ROWS),
            "lr": random.choice(["1e-3", "0.001", "2e-5"], ROWS),
            "loss": loss,
        }
    )


def drawing():
    """White, with a broad line in each of two colours, and 1000 light, rare colours below them."""
    picture = np.full((200, 200, 3), 255, dtype=np.uint8)
    picture[40:60], picture[100:120] = (0, 114, 178), (213, 94, 0)
    rare = np.random.default_rng(0).integers(200, 256, (1000, 3), dtype=np.uint8)
    picture[150:155] = rare.reshape(5, 200, 3)
    return picture


@pytest.fixture
def finished(project):
    """A study with a provenance in each cell, some tables and a figure."""
    for index, cell in enumerate(Study.load(STUDY).cells):
        cell.folder.mkdir(parents=True)
        facts = {"commit": "abc", "uncommitted_changes": False, "cell_hash": str(index)}
        (cell.folder / "provenance.json").write_text(json.dumps(facts))
    for folder in (TABLES, FIGURES):
        (project / folder).mkdir(parents=True)
    for name in ("runs.csv", "accuracy.md", "accuracy.tex", "accuracy.html"):
        (project / TABLES / name).write_text(name)
    kept.record(f"{TABLES}/runs.csv")
    long_table().to_csv(project / TABLES / "losses.csv", index=False)
    long_table().to_parquet(project / TABLES / "items.parquet", compression="snappy")
    (project / FIGURES / "loss.pdf").write_text("a figure")
    Image.fromarray(drawing()).save(project / FIGURES / "loss.png", dpi=(150, 150))
    return project


def released(project):
    folder = project / RELEASE
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_release_has_tables_figures_and_their_origin(finished):
    publish(STUDY)
    assert released(finished) == [
        "figures/loss.png",
        "provenance.json",
        "tables/accuracy.md",
        "tables/accuracy.tex",
        "tables/items.parquet",
        "tables/losses.parquet",
        "tables/runs.csv",
    ]
    assert (finished / RELEASE / "tables/runs.csv").read_text() == "runs.csv"
    (origin,) = json.loads((finished / RELEASE / "provenance.json").read_text())["origins"]
    assert origin == {
        "cells": len(Study.load(STUDY).cells),
        "commit": "abc",
        "uncommitted_changes": False,
    }


def test_a_release_says_what_a_converted_model_was(finished):
    name, facts = "tiny", {"source": "a==1/b.gguf", "tensors": {"Q4_1": 3}}
    model = finished / "config/models/all-minilm-l6-v2.yaml"
    text = model.read_text()
    package = f"package: {{name: a, version: '1', file: b.gguf, sha256: {'a' * 64}}}"
    (model.with_name(f"{name}.yaml")).write_text(
        re.sub("hub_id: .*", f"hub_id: null\n{package}", text)
    )
    study = finished / f"config/studies/{STUDY}.yaml"
    study.write_text(study.read_text().replace("[all-minilm-l6-v2]", f"[{name}]"))
    Study.load.cache_clear()
    origin = finished / paths.MODEL.format(study=STUDY, model=name) / "model.json"
    with pytest.raises(UserError, match=r"model\.json: no such file"):
        publish(STUDY, available=True)
    origin.parent.mkdir(parents=True)
    origin.write_text(json.dumps(facts))
    publish(STUDY, available=True)
    released = json.loads((finished / RELEASE / "provenance.json").read_text())
    assert released["models"] == {name: facts}


@pytest.mark.parametrize("name", ["losses", "items"])
def test_parquet_has_every_digit_and_learning_rates_as_text(finished, name):
    publish(STUDY)
    path = finished / RELEASE / f"tables/{name}.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(path), long_table(), check_exact=True)
    columns = pq.ParquetFile(path).metadata.row_group(0)
    assert {columns.column(i).compression for i in range(columns.num_columns)} == {"ZSTD"}


def test_parquet_gives_the_text_of_the_csv_back(finished):
    publish(STUDY)
    table = pd.read_parquet(finished / RELEASE / "tables/losses.parquet")
    assert table.to_csv(index=False) == (finished / TABLES / "losses.csv").read_text()


def test_a_figure_is_smaller_and_keeps_its_colours_size_and_resolution(finished):
    publish(STUDY)
    path = finished / RELEASE / "figures/loss.png"
    with Image.open(path) as image:
        assert image.mode == "P"
        assert round(image.info["dpi"][0]) == 150
        colours = np.asarray(image.convert("RGB"))
    assert (colours[:150] == drawing()[:150]).all()
    assert path.stat().st_size < (finished / FIGURES / "loss.png").stat().st_size


def test_nothing_of_an_earlier_release_stays(finished):
    old = finished / RELEASE / "tables/losses.csv"
    old.parent.mkdir(parents=True)
    old.write_text("of the release before")
    publish(STUDY)
    assert not old.exists()


def test_a_large_file_is_refused_and_the_old_release_stays(finished):
    publish(STUDY)
    before = released(finished)
    (finished / TABLES / "costs.csv").write_text("short")
    (finished / TABLES / "paper.tex").write_text("x" * 1_230_000)
    with pytest.raises(UserError, match=r"tables/paper\.tex: 1\.23 MB .* --large"):
        publish(STUDY)
    assert released(finished) == before
    assert [path.name for path in (finished / "results/published").iterdir()] == [STUDY]


def test_a_large_file_is_released_where_that_is_asked_for(finished):
    (finished / TABLES / "paper.tex").write_text("x" * 1_230_000)
    publish(STUDY, large=True)
    assert "tables/paper.tex" in released(finished)


def test_cells_of_uncommitted_code_are_refused(finished):
    path = Study.load(STUDY).cells[2].folder / "provenance.json"
    path.write_text(path.read_text().replace("false", "true"))
    with pytest.raises(UserError, match="not committed"):
        publish(STUDY)
    assert not (finished / "results/published").exists()


def test_rates_chosen_under_other_settings_are_refused(finished, monkeypatch):
    monkeypatch.setattr("lorasb.stages.publish.stale_rates", lambda study: ["mrpc, full, rank 0"])
    with pytest.raises(UserError, match=r"mrpc, full, rank 0.*'sweep' again"):
        publish(STUDY)
    assert not (finished / "results/published").exists()


def test_missing_cell_is_named(finished):
    cell = Study.load(STUDY).cells[0]
    (cell.folder / "provenance.json").unlink()
    with pytest.raises(UserError, match=str(cell.folder)):
        publish(STUDY)


def test_cells_that_are_not_there_are_counted_where_that_is_asked_for(finished):
    cell = Study.load(STUDY).cells[0]
    (cell.folder / "provenance.json").unlink()
    publish(STUDY, available=True)
    facts = json.loads((finished / RELEASE / "provenance.json").read_text())
    assert facts["cells_without_results"] == 1
    assert sum(origin["cells"] for origin in facts["origins"]) == len(Study.load(STUDY).cells) - 1


def test_a_damaged_table_is_not_released(finished):
    (finished / TABLES / "runs.csv").write_text("other")
    with pytest.raises(UserError, match=r"runs\.csv: cut short, 5 bytes where 8 were written"):
        publish(STUDY)
    assert not (finished / RELEASE).exists()
