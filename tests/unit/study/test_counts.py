import pytest

from lorasb.study.cells import Cell
from lorasb.study.counts import cell_counts
from lorasb.study.study import Study


@pytest.mark.parametrize(
    ("variant", "rank", "trainable", "stored", "head"),
    [
        # 4 layers of q, k, v, o (128 x 128), gate, up and down (128 and 256); head 4 x 128
        ("lora-xs", 4, 28 * 16, 28 * 16, 512),
        ("lora-sb", 4, 28 * 16, 28 * 16 + 4 * 4 * (4 * 256 + 3 * 384), 512),
        ("lora", 8, 8 * 4 * (4 * 256 + 3 * 384), 8 * 4 * (4 * 256 + 3 * 384), 512),
        ("base", 0, 0, 0, 0),
    ],
)
def test_counts_of_a_cell(variant, rank, trainable, stored, head):
    study = Study("quickstart")
    cell = Cell(study.name, "quickstart-llama", "sentences", variant, rank, "1e-2", 0, "test")
    counts = cell_counts(study, cell)
    assert (counts.trainable, counts.stored, counts.task_head) == (trainable, stored, head)
