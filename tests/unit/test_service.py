"""Children of the service are as a process of one's own, and nobody outlives the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorasb.service import OF_A_JOB, ONE_THREAD, TOKEN, request, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no service there")
CLIENT = "import sys; from lorasb.service import request; sys.exit(request(sys.argv[1:]))"
ROOT = str(Path(__file__).parents[2])
OF_PYTEST = "PYTEST_CURRENT_TEST"  # changes while a test runs
PATIENCE = 30  # seconds, of a busy machine


@pytest.fixture
def service(tmp_path, monkeypatch) -> Iterator[subprocess.Popen[bytes]]:
    monkeypatch.setattr("lorasb.service.OF_A_JOB", OF_A_JOB | {OF_PYTEST})
    for name, value in (ONE_THREAD | {TOKEN: "", "PYTHONPATH": ROOT}).items():
        monkeypatch.setenv(name, value)
    process = start(tmp_path / "logs/service.log", module="tests.unit.small_service")
    assert process is not None
    yield process
    process.kill()
    process.communicate()


def client(*argv: str, script: str = CLIENT, **extra: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    own = {name: value for name, value in os.environ.items() if name != OF_PYTEST}
    return subprocess.Popen([sys.executable, "-c", script, *argv], env=own | extra, **pipes)


def waiting(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A client whose command waits, and the process that runs it."""
    file = folder / "child"
    asking = client("wait", str(file))
    until(lambda: file.exists() and file.read_text())
    return asking, int(file.read_text())


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize("status", [0, 1, 3])
def test_status_is_the_commands(service, status):
    assert request(["status", str(status)]) == status


def test_child_has_folder_environment_arguments_and_streams_of_who_asks(service, tmp_path):
    asking = client("say", "a b", "ü", LORASB_GPU="1", TMPDIR=str(tmp_path))
    said, warned = asking.communicate(timeout=PATIENCE)
    seen = {
        "folder": str(Path.cwd()),
        "own": "1",
        "argv": ["a b", "ü"],
        "imported": True,
        "frozen": True,
    }
    assert json.loads(said) == seen
    assert warned == "to stderr"


def test_error_of_a_command_is_a_traceback_and_status_1(service):
    asking = client("raise")
    said = asking.communicate(timeout=PATIENCE)[1]
    assert said.endswith("ValueError: of the command\n")
    assert asking.returncode == 1


def test_commands_run_beside_each_other(service, tmp_path):
    (tmp_path / "a").mkdir()
    first, _ = waiting(tmp_path / "a")
    second, _ = waiting(tmp_path)
    assert request(["status", "0"]) == 0
    assert first.poll() is second.poll() is None
    first.kill(), second.kill()
    first.communicate(), second.communicate()


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HF_HOME", "PYTHONHASHSEED"])
def test_other_environment_finds_no_service(service, monkeypatch, name):
    monkeypatch.setenv(name, "2")
    assert request(["status", "0"]) is None


@pytest.mark.parametrize("change", ["prefix", "token", "none"])
def test_other_python_or_token_finds_no_service(service, monkeypatch, change):
    if change == "prefix":
        monkeypatch.setattr(sys, "prefix", "/elsewhere")
    elif change == "token":
        monkeypatch.setenv(TOKEN, "other")
    else:
        monkeypatch.delenv(TOKEN)
    assert request(["status", "0"]) is None


def test_service_that_cannot_start_is_none(service, tmp_path):
    service.kill()
    service.wait()
    assert request(["status", "0"]) is None
    broken = start(tmp_path / "broken.log", module="tests.unit.no_such_module")
    assert request(["status", "0"]) is None
    assert "no_such_module" in (tmp_path / "broken.log").read_text()
    broken.communicate()


def test_signal_reaches_the_command(service, tmp_path):
    asking, child = waiting(tmp_path)
    asking.send_signal(signal.SIGINT)
    asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 7
    assert gone(child)


def test_signal_that_ends_the_command_is_its_status(service, tmp_path):
    asking, child = waiting(tmp_path)
    asking.send_signal(signal.SIGTERM)
    asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 256 - signal.SIGTERM
    assert gone(child)


def test_ignored_signal_stays_ignored(service, tmp_path):
    file = tmp_path / "child"
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {CLIENT}"
    asking = client("wait", str(file), script=ignoring)
    until(lambda: file.exists() and file.read_text())
    asking.send_signal(signal.SIGHUP)
    asking.send_signal(signal.SIGINT)  # arrives after it
    asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 7


def test_killed_client_takes_its_command_with_it(service, tmp_path):
    asking, child = waiting(tmp_path)
    asking.kill()
    asking.communicate()
    until(lambda: gone(child))
    assert request(["status", "0"]) == 0


def test_killed_command_is_said_to_its_client(service, tmp_path):
    asking, child = waiting(tmp_path)
    os.kill(child, signal.SIGKILL)
    asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 256 - signal.SIGKILL
    assert request(["status", "0"]) == 0


def test_killed_service_takes_its_commands_with_it(service, tmp_path):
    asking, child = waiting(tmp_path)
    service.kill()
    asking.communicate(timeout=PATIENCE)
    assert asking.returncode == 256 - signal.SIGKILL
    until(lambda: gone(child))


def test_service_ends_with_the_process_that_started_it(tmp_path):
    starter = (
        "import sys, time; from pathlib import Path; from lorasb.service import start\n"
        "print(start(Path(sys.argv[1]), module='tests.unit.small_service').pid, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", starter, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        service = int(process.stdout.readline())
        assert not gone(service)
        process.kill()
    until(lambda: gone(service))
