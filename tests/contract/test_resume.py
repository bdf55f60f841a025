"""A run of every method that was killed ends in the bits of one that was not."""

from __future__ import annotations

import pytest
import torch

from lorasb.config.read import names
from lorasb.methods.registry import make_variant
from tests.unit.killed import KillAt, KilledError
from tests.unit.training.test_rates import STEPS, run

pytestmark = pytest.mark.slow

# each file's own variant: those inside differ in arguments alone
TRAINED = [name for name in names("methods") if make_variant(name).method.trains]


@pytest.mark.parametrize("variant", TRAINED)
def test_a_killed_run_ends_in_the_same_bits(variant, tmp_path):
    with pytest.raises(KilledError):
        run(variant, tmp_path / "cut", {}, KillAt(STEPS - 1))
    found = run(variant, tmp_path / "cut", {})
    expected = run(variant, tmp_path / "whole", {})
    assert found.log == expected.log
    assert found.snapshots.keys() == expected.snapshots.keys()
    for name, value in expected.snapshots.items():
        assert torch.equal(found.snapshots[name], value), name
    # the checkpoint is not the end
    last = {k.partition("/")[2]: v for k, v in expected.snapshots.items() if k.startswith("1/")}
    assert any(not torch.equal(expected.snapshots[f"{STEPS}/{k}"], v) for k, v in last.items())
