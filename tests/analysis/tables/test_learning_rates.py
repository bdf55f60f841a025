from __future__ import annotations

from analysis.tables import learning_rates
from tests.analysis.conftest import NAMES


def test_rows_are_in_display_order_and_say_where_the_rate_lies(tables):
    table = learning_rates.learning_rates(tables.selected.sample(frac=1, random_state=0), NAMES)
    task = table["task"][0]
    first = table[table["task"] == task]
    assert list(first["variant"]) == ["full", "lora", "lora-xs", "lora-xs", "lora-sb", "lora-sb"]
    printed = learning_rates.printed(table, NAMES)
    by_method = printed.drop_duplicates("Method").set_index("Method")
    # the synthetic sweep is best at the lowest rate for full fine-tuning
    assert by_method["Place in the grid"]["full fine-tuning"] == "lowest tried"
    assert by_method["Learning rate"]["full fine-tuning"] == "1e-3"
    assert by_method["Place in the grid"]["LoRA"] == "inside the grid"
    assert by_method["Score"]["LoRA"].endswith("(1)")


def test_a_loss_is_said_to_be_one():
    (note,) = learning_rates.loss_notes(["world", "arithmetic"], NAMES)
    assert note.startswith("On World, Arithmetic the score is the loss")
    assert learning_rates.loss_notes([], NAMES) == []
    assert learning_rates.notes([], [note]) == [*learning_rates.NOTES, note]


def test_rates_of_other_settings_are_named_in_a_note():
    assert learning_rates.notes([]) == learning_rates.NOTES
    *_, last = learning_rates.notes(["world, full, rank 0"])
    assert "OUT OF DATE" in last and "world, full, rank 0" in last
