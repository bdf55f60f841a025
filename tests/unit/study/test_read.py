"""Tables of stages, which may be damaged or foreign."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.files import write_csv
from lorasb.study.read import join_csv, read_csv, read_parquet

TABLE = pd.DataFrame({"lr": ["1e-3", "2e-3"], "set": [None, None], "value": [0.25, 0.5]})


def damaged(path, how):
    content = path.read_bytes()
    changed = {
        "empty": b"",
        "cut short": content[:-3],
        "binary": b"\xff\xfe\x00" * 50 + b"\n",
        "of other rows": b'a,b\n1,2\n"3\n',
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["empty", "cut short", "binary", "of other rows"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_damaged_table_is_named(tmp_path, ending, how):
    path = tmp_path / f"table.{ending}"
    read = read_csv if ending == "csv" else read_parquet
    write_csv(path, TABLE) if ending == "csv" else TABLE.to_parquet(path)
    assert read(path, ["lr", "value"])["lr"].tolist() == ["1e-3", "2e-3"]
    damaged(path, how)
    with pytest.raises(UserError) as found:
        read(path)
    assert str(found.value).startswith(f"{path}: ")
    assert "delete it and run again" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_another_table_is_refused(tmp_path, read):
    path = tmp_path / "table"
    write_csv(path, TABLE) if read is read_csv else TABLE.to_parquet(path)
    with pytest.raises(UserError, match="another table than it should be"):
        read(path, ["lr", "metric", "value"])


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_folder_is_no_file(tmp_path, read):
    (tmp_path / "table").mkdir()
    with pytest.raises(IsADirectoryError):  # pandas reads it as a table without rows
        read(tmp_path / "table")


def test_tables_are_joined_as_they_are_spelt(tmp_path):
    for name, rows in (("a", "0.10,1\n"), ("b", ""), ("c", "1e-05,\n2,3\n")):
        (tmp_path / f"{name}.csv").write_text(f"x,y\n{rows}")
    parts = [tmp_path / f"{name}.csv" for name in "abc"]
    join_csv(parts, ["x"], tmp_path / "joined.csv")
    assert (tmp_path / "joined.csv").read_text() == "x,y\n0.10,1\n1e-05,\n2,3\n"
    join_csv([], ["x", "z"], tmp_path / "joined.csv")
    assert (tmp_path / "joined.csv").read_text() == "x,z\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x,y\n1,2", "cut short"),
        ("", "empty or cut short"),
        ("x\n1\n", "no column 'y'"),
        ("y,x\n1,2\n", "other columns than"),
    ],
)
def test_a_table_that_does_not_fit_is_not_joined(tmp_path, content, said):
    parts = [tmp_path / "a.csv", tmp_path / "b.csv"]
    parts[0].write_text("x,y\n1,2\n")
    parts[1].write_text(content)
    with pytest.raises(UserError, match=f"^{parts[1]}: .*{said}"):
        join_csv(parts, ["x", "y"], tmp_path / "joined.csv")
    assert not (tmp_path / "joined.csv").exists()
