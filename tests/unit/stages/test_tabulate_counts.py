import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.stages.tabulate_counts import tabulate_counts


def test_points_beside_the_study_come_from_a_table(project):
    (project / "more.csv").write_text("model,variant,rank,value\nquickstart-llama,lora,16,1\n")
    tabulate_counts("quickstart", "more.csv")
    table = pd.read_csv("results/quickstart/tables/counts.csv")
    assert set(table.loc[table["variant"] == "lora", "rank"]) == {8, 16}
    tabulate_counts("quickstart")
    table = pd.read_csv("results/quickstart/tables/counts.csv")
    assert set(table.loc[table["variant"] == "lora", "rank"]) == {8}


@pytest.mark.parametrize("text", [None, "model,rank\nm,1\n"])
def test_a_table_without_points_is_one_line(project, text):
    if text is not None:
        (project / "more.csv").write_text(text)
    with pytest.raises(UserError, match=r"more.csv: a CSV with the columns model, variant, rank"):
        tabulate_counts("quickstart", "more.csv")
