import pandas as pd
import pytest

from analysis.report.inputs import LATER, NEEDS, Tables
from analysis.tidy import TableError


def test_a_release_of_before_there_were_sets_and_power_is_read(study, tmp_path):
    paths = {name: tmp_path / f"{name}.csv" for name in ("runs", "per_item", "losses", "paired")}
    study.runs.to_csv(paths["runs"], index=False)
    study.losses.to_csv(paths["losses"], index=False)
    study.per_item.drop(columns="set").to_csv(paths["per_item"], index=False)
    study.paired.drop(columns=["set", *LATER]).to_csv(paths["paired"], index=False)
    found = Tables.read(paths)
    assert set(found.per_item["set"]) == set(found.paired["set"]) == {""}
    assert found.paired[LATER].isna().all(axis=None)
    assert list(found.losses) == ["model", "task", "variant", "rank", "seed", "step"]
    assert found.counts is None
    assert {"runs", "sweep"} < set(Tables.names())


@pytest.fixture
def paths(study, tmp_path):
    """The tables of a study as files."""
    found = {name: tmp_path / f"{name}.csv" for name in Tables.names()}
    for name, path in found.items():
        getattr(study, name).to_csv(path, index=False)
    return found


def test_all_tables_are_read_as_they_were_written(study, paths):
    found = Tables.read(paths)
    for name in Tables.names():
        assert len(getattr(found, name)) == len(getattr(study, name)), name
    assert found.others is None


@pytest.mark.parametrize("name", Tables.names())
@pytest.mark.parametrize("how", ["missing", "empty", "foreign", "without its last column"])
def test_a_table_that_cannot_be_read_is_a_line(paths, name, how):
    table, path = pd.read_csv(paths[name]), paths[name]
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "foreign":
        pd.DataFrame({"other": [1]}).to_csv(path, index=False)
    elif how != "missing":
        table.drop(columns=NEEDS[name][-1]).to_csv(path, index=False)
    with pytest.raises(TableError, match=rf"^\S*/{name}\.csv: "):
        Tables.read(paths)
