from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from lorasb.tasks.answers.math_worker import same

MiB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_the_limit_is_above_what_is_used_and_moves_with_it():
    # what a process has is no part of the room of the next comparison
    code = f"""
from lorasb.tasks.answers.math_worker import limit
kept = [bytearray({300 * MiB})]
for _ in range(3):
    limit({200 * MiB})
    kept.append(bytearray({150 * MiB}))
limit({200 * MiB})
try:
    kept.append(bytearray({250 * MiB}))
except MemoryError:
    print("bounded")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout == "bounded\n", done.stderr


def test_a_verdict():
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert [same("1+1", "2", 60), same("1", "2", 60), same("\\frac", "2", 60)] == [
        True,
        False,
        False,
    ]
    assert resource.getrlimit(resource.RLIMIT_AS) == before
