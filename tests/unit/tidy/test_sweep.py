import re
import shutil

import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.records import Inputs
from lorasb.study.cells import Point
from lorasb.study.rates import read_selected_rates, selected_rates_path
from lorasb.study.study import Study
from lorasb.tidy.sweep import POINT, select_rates, selected_table, with_kept
from tests.conftest import ROOT


def sweep(scores: dict[str, list[float | None]]) -> pd.DataFrame:
    """One variant; learning rate -> a score for each seed."""
    rows = [
        {"model": "m", "task": "t", "variant": "v", "rank": 4, "lr": lr, "seed": seed, "score": s}
        for lr, values in scores.items()
        for seed, s in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(metric="accuracy")


def chosen(scores: dict[str, list[float | None]]) -> dict[str, object]:
    (row,) = select_rates(sweep(scores)).to_dict("records")
    return row


def test_best_mean_over_seeds_wins():
    row = chosen({"1e-3": [0.9, 0.1], "1e-2": [0.6, 0.6], "1e-1": [0.2, 0.2]})
    assert row["lr"] == "1e-2"
    assert row["score"] == pytest.approx(0.6)
    assert (row["seeds"], row["edge"]) == (2, "none")


@pytest.mark.parametrize(
    ("scores", "lr", "edge"),
    [
        ({"1e-3": [0.9], "1e-2": [0.5]}, "1e-3", "low"),
        ({"5e-3": [0.1], "1e-2": [0.5], "2.5e-2": [0.6]}, "2.5e-2", "high"),
    ],
)
def test_best_at_the_border_is_marked(scores, lr, edge):
    row = chosen(scores)
    assert (row["lr"], row["edge"]) == (lr, edge)


def test_border_is_by_value_not_by_spelling():
    # as text, 1e-2 comes before 5e-3
    row = chosen({"1e-2": [0.9], "5e-3": [0.1]})
    assert row["edge"] == "high"


def test_of_equal_scores_the_lower_rate_wins():
    assert chosen({"1e-2": [0.5], "1e-3": [0.5], "5e-2": [0.5]})["lr"] == "1e-3"


def test_rate_at_which_a_cell_failed_cannot_be_chosen():
    assert chosen({"1e-3": [0.5, 0.5], "1e-2": [0.9, None]})["lr"] == "1e-3"


def test_no_usable_rate_is_an_error():
    with pytest.raises(UserError, match="every learning rate failed for m, t, v, 4"):
        select_rates(sweep({"1e-3": [None]}))


QUICKSTART = Point("quickstart-llama", "world", "lora", 8)
FULL = Point("quickstart-llama", "arithmetic", "full", 0)


def test_rates_that_were_not_chosen_anew_keep_their_rows_and_places(project):
    path = project / selected_rates_path("quickstart")
    before = path.read_text()
    path.write_text(
        "".join(line for line in before.splitlines(keepends=True) if "world\tlora\t" not in line)
    )
    study = Study("quickstart")
    assert study.points_to_sweep == [QUICKSTART]
    rates = study.sweep["learning_rates"]["lora"]
    scores = pd.DataFrame([dict(zip(POINT, QUICKSTART, strict=True)) | {"lr": lr} for lr in rates])
    values = [0.0, 0.1, 0.0, 0.0, 0.8067, 0.1]
    chosen = selected_table(scores.assign(seed=100, metric="accuracy", score=values), study)
    chosen.to_csv(path, sep="\t", index=False, float_format="%.4f")
    assert path.read_text() == before


def test_what_the_sweep_writes_is_read_as_chosen(project):
    (project / selected_rates_path("quickstart")).unlink()
    study = Study("quickstart")
    cells = pd.DataFrame([cell.columns for cell in study.scored_cells("selection")])
    path = project / selected_rates_path("quickstart")
    selected_table(cells.assign(metric="accuracy", score=0.5), study).to_csv(
        path, sep="\t", index=False
    )
    assert set(read_selected_rates(path)) == set(study.points) - {
        p for p in study.points if p.variant == "base"
    }
    assert Study("quickstart").points_to_sweep == []


def test_points_left_out_keep_the_rows_that_the_release_has_of_them(project):
    folder = "results/published/quickstart"
    shutil.copytree(ROOT / folder, project / folder)
    released = pd.read_csv(project / folder / "tables/sweep.csv", dtype={"lr": str})
    path = project / selected_rates_path("quickstart")
    # one point is swept anew, and another's committed rate came of another sweep
    lines = re.sub(r"(\tworld\tlora\t8\t.*\t)[0-9a-f]{16}\t", r"\1other\t", path.read_text())
    path.write_text(
        lines.replace("\tarithmetic\tfull\t0\t2e-3\t0.7600", "\tarithmetic\tfull\t0\t2e-3\t0.7700")
    )

    study, inputs = Study("quickstart"), Inputs()
    assert study.points_to_sweep == [QUICKSTART]
    swept, other = (of_point(released, *point) for point in [QUICKSTART, FULL])
    own = released[swept].assign(score=0.5)
    found = with_kept(study, own, inputs)
    expected = released.assign(score=released["score"].mask(swept, 0.5))[~other]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))
    assert f"the released {folder}/tables/sweep.csv" in inputs.hashes


def of_point(table: pd.DataFrame, *point: object) -> pd.Series:
    return (table[POINT] == point).all(axis="columns")


def test_without_a_release_a_sweep_has_its_own_rows_alone(project):
    own = sweep({"1e-3": [0.9]})
    assert with_kept(Study("quickstart"), own, Inputs()) is own
