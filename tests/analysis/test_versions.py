from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.versions import notes


def test_other_versions_are_counted_in_one_note():
    # as a CSV has them: an empty field is no text
    versions = ["torch 2.12.0 (pinned 2.13.0)", np.nan, "torch 2.12.0 (pinned 2.13.0)", "peft 1"]
    (note,) = notes(pd.DataFrame({"other_versions": versions}))
    assert note.startswith("Of 4 runs some were made with other versions than the pinned ones:")
    assert "torch 2.12.0 (pinned 2.13.0) in 2 of them; peft 1 in 1 of them" in note


def test_pinned_versions_need_no_note_nor_do_tables_of_before():
    assert notes(pd.DataFrame({"other_versions": ["", np.nan]})) == []
    assert notes(pd.DataFrame({"score": [0.5]})) == []
