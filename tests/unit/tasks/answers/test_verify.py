from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lorasb.errors import UserError
from lorasb.tasks.answers import verify
from lorasb.tasks.answers.latex import boxed_expression, last_expression
from lorasb.tasks.answers.verify import math_verify
from tests.unit.tasks.answers.test_latex import MATH

ROOT = Path(__file__).resolve().parents[4]

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


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Put a library of this text in the place of math-verify."""
    monkeypatch.syspath_prepend(tmp_path)
    return (tmp_path / "math_verify.py").write_text


LIBRARY = "import os\nLatexExtractionConfig = dict\ndef parse(text, *_, **__): return text\n"


@pytest.mark.parametrize("end", ["raise MemoryError", "os.abort()", "os.kill(os.getpid(), 11)"])
def test_what_runs_out_of_memory_is_stopped_and_the_others_go_on(library, end, capfd):
    library(f"{LIBRARY}def verify(gold, found, **_):\n    if '9' in found: {end}\n    return True")
    assert math_verify([("x+9", "2"), ("1+1", "2")]) == [False, True]
    assert "1 of 2 comparisons reached 5 CPU seconds or the memory limit" in capfd.readouterr().err


def test_what_the_library_cannot_compare_is_not_the_same(library, capfd):
    library(f"{LIBRARY}def verify(gold, found, **_): raise TypeError")
    assert math_verify([("1+1", "2")]) == [False]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "code", ["__import__('os').system('touch {}')", "open('{}','w')", "exec(\"open('{}','w')\")"]
)
def test_no_answer_is_run_as_code(code, tmp_path):
    marker = tmp_path / "ran"
    pairs = [(code.format(marker), "3"), (f"\\text{{{code.format(marker)}}}", "3")]
    assert math_verify(pairs) == [False, False]
    assert not marker.exists()


CALL = "from lorasb.tasks.answers import COMPARATORS\n{prepare}\nprint({call})"
VERDICTS = "COMPARATORS['math_verify']([('1+1', '2'), ('1', '2')])"


def python(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_worker_without_room_is_no_verdict():
    prepare = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))"
    done = python("-c", CALL.format(prepare=prepare, call=VERDICTS))
    assert done.returncode == 1
    assert "UserError: math-verify: its process did not start" in done.stderr
    assert "needs 4 GiB of address space beyond its own (ulimit -v)" in done.stderr


@pytest.mark.parametrize("start", ["file", "-c", "-"])
def test_the_callers_main_module_is_not_run_again(start, tmp_path):
    # no guard, and more at its top than the limit of a comparison
    large = verify.MEMORY_BYTES + 2**20
    prepare = f"import mmap\nlarge = mmap.mmap(-1, {large})\nprint('main', __name__)"
    code = CALL.format(prepare=prepare, call=VERDICTS)
    script = tmp_path / "main.py"
    script.write_text(code)
    arguments = {"file": (str(script),), "-c": ("-c", code), "-": ("-",)}[start]
    done = python(*arguments, text=code if start == "-" else None)
    assert done.stdout.splitlines() == ["main __main__", "[True, False]"], done.stderr


def test_a_daemon_may_compare():
    prepare = (
        "import multiprocessing\n"
        "def compare(queue):\n"
        f"    queue.put({VERDICTS})\n"
        "context = multiprocessing.get_context('fork')\n"
        "queue = context.Queue()\n"
        "context.Process(target=compare, args=(queue,), daemon=True).start()"
    )
    done = python("-c", CALL.format(prepare=prepare, call="queue.get(timeout=60)"))
    assert done.stdout == "[True, False]\n", done.stderr


def test_a_library_that_cannot_be_imported_is_no_verdict(library):
    library("raise ImportError('broken')")
    with pytest.raises(UserError, match="its process did not start: ImportError: broken"):
        math_verify([("1+1", "2")])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), 9)", "status -9"),
        ("sys.exit('no more')", "no more"),
        ("raise OSError('no disk')", "OSError: no disk"),
    ],
)
def test_a_worker_that_something_else_ends_is_no_verdict(end, said, monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(f"import os, sys\nprint('ready', flush=True)\ninput()\n{end}\n")
    monkeypatch.setattr(verify, "WORKER", worker)
    with pytest.raises(UserError, match=rf"compared '1\+1' with '2': {said}; nothing was scored"):
        math_verify([("1+1", "2")])


def test_what_the_library_prints_is_no_verdict(library):
    library(f"print('true')\n{LIBRARY}def verify(*_, **__): print('true'); return False")
    assert math_verify([("1+1", "2"), ("x", "y+0")]) == [False, False]


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
