from __future__ import annotations

import sys
import threading
from concurrent.futures.process import BrokenProcessPool

import pyarrow.parquet as pq
import pytest

from lorasb.tasks.answers import verify
from lorasb.tasks.answers.latex import boxed_expression, last_expression
from lorasb.tasks.answers.verify import math_verify
from tests.unit.tasks.answers.test_latex import MATH

# found, gold, verdict
TABLE = [
    # the same
    ("\\frac12", "0.5", True),
    ("x^2+2x+1", "(x+1)^2", True),
    ("\\frac{1}{\\sqrt3}", "\\frac{\\sqrt3}{3}", True),
    ("\\pi r^2", "r^2\\pi", True),
    ("x = 3", "3", True),
    ("y = 2x + 3", "2x+3", True),
    ("2,1", "1,2", True),
    ("3 \\text{ or } 4", "3,4", True),
    ("3\\pm\\sqrt2", "3-\\sqrt2,3+\\sqrt2", True),
    ("\\text{(C)}", "C", True),
    ("evelyn", "\\text{Evelyn}", True),
    ("\\begin{bmatrix}1&2\\end{bmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}", True),
    ("2516", "2516_8", True),
    ("7_{10}", "7", True),
    ("0.333333", "\\frac13", True),  # decimals count to six places
    # not the same
    ("0.3333", "\\frac13", False),
    ("500", "5", False),  # no factors of 100
    ("5", "500", False),
    ("0.5", "50\\%", False),
    ("50\\%", "0.5", False),
    ("1011_2", "1011_3", False),
    ("101_2", "5", False),  # a base is never computed
    ("(1,2)", "(2,1)", False),
    ("[1,2]", "(1,2)", False),
    ("\\infty", "-\\infty", False),
    ("1\\frac12", "0.5", False),
    ("y^2", "x^2", False),
    ("Calra", "Carla", False),  # nor are letters multiplied
    ("evil", "\\text{live}", False),
    ("C", "D", False),
    ("19", "19 \\text{ and }43", False),
    ("\\frac{1}{0}", "5", False),
    # malformed, refused or hostile
    ("\\frac", "3", False),
    ("3\\sqrt", "3", False),
    ("3}{", "3", False),
    ("} 4 \\boxed{3", "3", False),
    ("1" * 400, "1" * 399 + "2", False),
    ("1" * 5000, "1", False),
    ("{" * 20 + "2" + "}" * 20, "3", False),
    ("10^{10^{10}}", "10^{10^{10}}+1", False),
    ("100000!", "1", False),
]
# what the library takes as the same; docs/tasks.md names them
LENIENT = [
    ("1+1", "2"),
    ("4 = 3", "3"),
    ("(1,2)", "1,2"),
    ("0.0000001", "0.0000002"),
    ("9\\text{ p.m.}", "9\\text{ a.m.}"),
]


def test_awkward_answers():
    verdicts = math_verify([(found, gold) for found, gold, _ in TABLE])
    wrong = [row for row, verdict in zip(TABLE, verdicts, strict=True) if verdict is not row[2]]
    assert wrong == []


def test_known_leniency():
    assert math_verify(LENIENT) == [True] * len(LENIENT)


def test_towers_of_powers_are_stopped_and_the_others_go_on(monkeypatch, capfd):
    monkeypatch.setattr(verify, "CPU_SECONDS", 1)
    pairs = [("9^{9^{9^9}}", "3"), ("(10^9)!", "3"), ("1+1", "2")]
    assert math_verify(pairs) == [False, False, True]
    assert "2 of 3 comparisons reached 1 CPU seconds" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_memory_is_bounded():
    worker = verify._worker()
    with pytest.raises(MemoryError):
        worker.submit(bytearray, 2 * verify.MEMORY_BYTES).result()
    worker.shutdown()


@pytest.mark.parametrize(
    "code", ["__import__('os').system('touch {}')", "open('{}','w')", "exec(\"open('{}','w')\")"]
)
def test_no_answer_is_run_as_code(code, tmp_path):
    marker = tmp_path / "ran"
    pairs = [(code.format(marker), "3"), (f"\\text{{{code.format(marker)}}}", "3")]
    assert math_verify(pairs) == [False, False]
    assert not marker.exists()


def test_a_worker_that_cannot_start_is_no_verdict(monkeypatch):
    # more memory than any system has: the limit cannot be set, so the worker fails
    monkeypatch.setattr(verify, "MEMORY_BYTES", 2**80)
    with pytest.raises(BrokenProcessPool):
        math_verify([("1+1", "2")])


def test_it_works_outside_the_main_thread():
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.extend(math_verify([("1+1", "2")])))
    thread.start()
    thread.join()
    assert found == [True]


def test_each_pair_is_compared_once(monkeypatch):
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(verify, "_compare", lambda pairs: asked.extend(pairs) or [True])
    assert math_verify([("1+1", "2"), ("3", "3"), ("1+1", "2")]) == [True, True, True]
    assert asked == [("1+1", "2")]


def test_every_gold_answer_of_math_is_right():
    if not MATH.exists():
        pytest.skip("needs real data from ../shared, which this machine lacks")
    golds = [boxed_expression(text) for text in pq.read_table(MATH)["solution"].to_pylist()]
    found = [last_expression(f"The answer is: {gold}.") for gold in golds]
    assert math_verify([*zip(found, golds, strict=True)]) == [True] * 5000
