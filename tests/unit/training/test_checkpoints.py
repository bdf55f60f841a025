"""Damaged checkpoints: the one before is continued, down to none; the run ends in the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorasb.training.checkpoints import KEPT, last_checkpoint
from lorasb.training.run import MARKER
from tests.unit.damage import empty, flip_a_bit, truncate
from tests.unit.killed import KillAt, KilledError
from tests.unit.training.test_loop import run

NEWEST, BEFORE = "checkpoint-8", "checkpoint-4"
FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
DAMAGES = [truncate, flip_a_bit, empty, Path.unlink]


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run that has two checkpoints and snapshots of steps 0, 2 and 5."""
    with pytest.raises(KilledError):
        run(tmp_path / "cut", KillAt(9))
    return tmp_path / "cut"


def ends_as_if_never_killed(folder: Path) -> bool:
    model, outcome = run(folder)
    whole, expected = run(folder.with_name("whole"))
    same = all(
        torch.equal(outcome.snapshots[key], expected.snapshots[key]) for key in expected.snapshots
    )
    return (
        same and torch.equal(model.layer.weight, whole.layer.weight) and outcome.log == expected.log
    )


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_the_one_before_a_damaged_checkpoint_is_continued(killed, capsys, name, damage):
    damage(killed / NEWEST / name)
    checkpoint = last_checkpoint(killed)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{NEWEST}: not continued" in line
    assert name in line
    assert checkpoint == killed / BEFORE
    assert ends_as_if_never_killed(killed)


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, empty], ids=lambda damage: damage.__name__
)
def test_a_damaged_marker_is_no_marker(killed, capsys, damage):
    damage(killed / NEWEST / MARKER)
    assert last_checkpoint(killed) == killed / BEFORE
    assert f"{NEWEST}: not continued" in capsys.readouterr().err
    assert ends_as_if_never_killed(killed)


def test_without_a_whole_checkpoint_the_run_starts_over(killed, capsys):
    for name in (NEWEST, BEFORE):
        truncate(killed / name / "optimizer.pt")
    assert last_checkpoint(killed) is None
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert ends_as_if_never_killed(killed)


@pytest.mark.parametrize(
    ("step", "continued"), [(5, BEFORE), (2, None), (0, None)], ids=["5", "2", "0"]
)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_is_kept_along_training_is_whole_or_made_again(
    killed: Path, step: int, continued: str | None, damage: Callable[[Path], None]
) -> None:
    damage(killed / f"snapshot-{step}.safetensors")
    checkpoint = last_checkpoint(killed)
    assert (checkpoint and checkpoint.name) == continued
    assert ends_as_if_never_killed(killed)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_without_hashes_of_what_is_kept_the_run_starts_over(killed, damage):
    damage(killed / KEPT)
    assert last_checkpoint(killed) is None
    assert ends_as_if_never_killed(killed)
