import re

import pytest

from lorasb import grid
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.grid import Cell

CELL = Cell("quickstart", "quickstart-llama", "world", "lora-sb", 16, "1e-2", 0)


def test_path_is_the_identity_of_a_cell():
    assert str(CELL.folder) == (
        "results/quickstart/runs/quickstart-llama/world/lora-sb/r16/lr1e-2/seed0"
    )
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", grid.CELL)
    parts = re.fullmatch(pattern, str(CELL.folder)).groupdict()
    parts |= {"rank": int(parts["rank"].removeprefix("r")), "seed": int(parts["seed"])}
    assert Cell(**parts) == CELL


@pytest.mark.parametrize("study", config.names("studies"))
def test_cells_of_a_study_are_distinct_and_complete(study):
    data = config.load_study(study)
    try:
        cells = grid.final_cells(study)
    except UserError as error:
        # a study whose sweep has not been run says so
        assert "sweep" in str(error)
        return
    assert len(set(cells)) == len(cells)
    points = sum(
        len(entry.get("ranks", [0])) * len(entry.get("seeds", data["seeds"]))
        for entry in data["variants"].values()
    )
    assert len(cells) == points * len(data["models"]) * len(data["tasks"])


def test_sweep_cells_are_scored_on_selection_and_final_ones_on_test():
    assert {cell.split for cell in grid.sweep_cells("quickstart")} == {"selection"}
    assert {cell.split for cell in grid.final_cells("quickstart")} == {"test"}


def test_nothing_that_trains_nothing_is_swept():
    assert "base" not in {cell.variant for cell in grid.sweep_cells("quickstart")}


def test_a_seed_of_the_sweep_cannot_be_reported(project):
    study = project / "config/studies/quickstart.yaml"
    study.write_text(study.read_text().replace("seeds: [0, 1, 2]", "seeds: [0, 100]"))
    with pytest.raises(UserError, match=r"sweep\.seeds has 100"):
        grid.final_cells("quickstart")


def test_missing_selected_rates_ask_for_the_sweep(project):
    (project / "config/studies/quickstart.selected_lr.tsv").unlink()
    grid.selected_rates.cache_clear()
    with pytest.raises(UserError, match="run the target 'sweep'"):
        grid.final_cells("quickstart")
    grid.selected_rates.cache_clear()


def test_ranks_must_fit_the_method(project):
    study = project / "config/studies/quickstart.yaml"
    text = study.read_text()
    study.write_text(text.replace("full: {}", "full: {ranks: [4]}"))
    with pytest.raises(UserError, match=r"variants\.full has no rank"):
        grid.sweep_cells("quickstart")
    study.write_text(text.replace("lora: {ranks: [8]}", "lora: {}"))
    with pytest.raises(UserError, match=r"variants\.lora needs a list 'ranks'"):
        grid.sweep_cells("quickstart")


def test_largest_rank_is_over_all_variants():
    assert grid.largest_rank("quickstart") == 16


def test_fixed_rates_are_for_all_tasks_or_for_each(project):
    study = project / "config/studies/glue-minilm-smoke.yaml"
    text = study.read_text()
    study.write_text(text.replace('lora: "1e-3"', 'lora: {mrpc: "2e-3", stsb: "3e-3"}'))
    cells = grid.final_cells("glue-minilm-smoke")
    rates = {(cell.variant, cell.task): cell.lr for cell in cells}
    assert rates["lora", "mrpc"] == "2e-3"
    assert rates["lora", "stsb"] == "3e-3"
    assert rates["full", "mrpc"] == rates["full", "stsb"] == "1e-4"
    study.write_text(text.replace('lora: "1e-3"', 'lora: {mrpc: "2e-3"}'))
    with pytest.raises(UserError, match=r"learning_rates\.lora has no 'stsb'"):
        grid.final_cells("glue-minilm-smoke")


def test_a_task_without_selection_rows_cannot_be_swept(project):
    message = r"paper-glue-roberta-authors.yaml: .*'cola-authors' has an empty selection split"
    with pytest.raises(UserError, match=message):
        grid.sweep_cells("paper-glue-roberta-authors")


def test_every_other_study_of_the_paper_can_be_swept():
    for study in (name for name in config.names("studies") if name.startswith("paper-")):
        if study != "paper-glue-roberta-authors":
            trained = [point for point in grid.points(study) if point[2] != "base"]
            assert len(grid.sweep_cells(study)) == 3 * len(trained)
