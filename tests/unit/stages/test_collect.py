from __future__ import annotations

import numpy as np
import pandas as pd

from lorasb.evaluation.score import ITEM_COLUMNS
from lorasb.stages.collect import join_items

CELL = {
    "model": "m",
    "task": "t",
    "variant": "v",
    "rank": 4,
    "lr": "1e-4",
    "seed": 0,
    "item": [0, 1],
}


def test_items_of_every_kind_of_task_are_one_table(tmp_path):
    answers = {"prediction": ["option1", None], "label": ["option1"] * 2, "strict": [0.0, 0.0]}
    answers |= {"flexible": [1.0, 0.0], "correct": [1.0, 0.0], "metric": "accuracy_flexible"}
    classes = {"prediction": ["1", "0"], "label": ["1", "1"], "strict": np.nan, "flexible": np.nan}
    classes |= {"correct": [1.0, 0.0], "metric": "accuracy"}
    # as they were before predictions were text, and before there were sets and two verdicts
    numbers = {"prediction": [1.0, 0.25], "label": [1.0, 0.5], "correct": np.nan}
    numbers |= {"metric": "pearson"}
    paths = [tmp_path / f"{name}.parquet" for name in ("answers", "classes", "numbers")]
    for path, columns in zip(paths, (answers, classes, numbers), strict=True):
        pd.DataFrame(CELL | columns).to_parquet(path, index=False)
    join_items(paths).to_parquet(tmp_path / "items.parquet", index=False)
    items = pd.read_parquet(tmp_path / "items.parquet")
    assert list(items) == ITEM_COLUMNS
    assert items["prediction"].fillna("-").tolist() == ["option1", "-", "1", "0", "1.0", "0.25"]
    assert items["label"].tolist() == ["option1", "option1", "1", "1", "1.0", "0.5"]
    assert items["flexible"].tolist()[:2] == [1.0, 0.0]
    assert items["flexible"][2:].isna().all()
    assert set(items["set"]) == {""}
