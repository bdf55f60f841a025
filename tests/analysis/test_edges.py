from __future__ import annotations

from analysis.edges import notes
from tests.analysis.conftest import MODEL, NAMES


def test_rates_at_an_edge_are_named_in_one_note():
    edges = [
        [MODEL, "world", "lora", "8", "5e-2", "high"],
        [MODEL, "world", "full", "0", "1e-4", "low"],
    ]
    (note,) = notes(edges, NAMES)
    assert "World, LoRA, r = 8 (5e-2, highest tried); World, full" in note
    assert "(1e-4, lowest tried)" in note


def test_without_any_there_is_no_note():
    assert notes([], NAMES) == []
