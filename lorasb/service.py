"""A process that has torch and its kin imported and forks a child for each command of a workflow.

Their import takes seconds, longer than many a command. `start` gives the workflow such a service,
and `request` has it run a command; a child has the folder, the environment, the streams and the
signals of the process that asked. What may change a number must not depend on who runs it: a
process whose Python, package or environment is not the service's does not find it, and runs its
command itself.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from runpy import run_module
from threading import Thread
from types import FrameType
from typing import Any

from lorasb.machine import WANTED

TOKEN = "LORASB_SERVICE"  # in the environment of processes that may ask
# Environment of a rule's shell command with one thread, as Snakemake sets it.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "GOTO_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
# Differ from job to job, and no import reads them.
OF_A_JOB = {TOKEN, WANTED, "_", "SHLVL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMPDIR", "TEMP"}
IMPORTED = (
    "accelerate",
    "datasets",
    "evaluate",
    "peft",
    "scipy.stats",
    "sklearn.metrics",
    "transformers.trainer",
    "lorasb.stages.train",
    "lorasb.stages.predict",
    "lorasb.stages.probe_directions",
    "lorasb.stages.collect",
)
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIZE = 1 << 17  # bytes of a request: arguments and environment
Command = Callable[[Sequence[str]], None]  # raises SystemExit with its status


def start(log: Path, module: str = __name__) -> subprocess.Popen[bytes] | None:
    """Start a service for the commands that this process's children run.

    It imports when it is first asked, and ends with this process, however that ends. None where
    there is none: a fork is safe on Linux alone.
    """
    if sys.platform != "linux":
        return None
    os.environ[TOKEN] = secrets.token_hex(8)
    environment = os.environ | ONE_THREAD
    log.parent.mkdir(parents=True, exist_ok=True)
    with _socket() as door, log.open("w") as file:
        door.bind(_address(environment))
        door.listen()  # who asks before the service is ready waits for it
        return subprocess.Popen(
            [sys.executable, "-m", module, str(door.fileno())],
            env=environment,
            pass_fds=[door.fileno()],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            process_group=0,  # Ctrl-C reaches those that ask, who pass it on
        )


def request(argv: Sequence[str]) -> int | None:
    """Have the service run a command.

    Returns its status, which is a signal's negative number where one ended it, or None where no
    service has this process's environment.
    """
    if TOKEN not in os.environ:
        return None
    asked = {"argv": list(argv), "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with _socket() as service, _passing_on(service):
        try:
            service.connect(_address(os.environ))
            if not _is_of_this_user(service):
                return None
            socket.send_fds(service, [json.dumps(asked).encode()], [0, 1, 2])
            begun = service.recv(SIZE)
        except OSError:
            begun = b""
        # the child of a service that is killed is killed with it
        return int(service.recv(SIZE) or -signal.SIGKILL) if begun else None


def serve(run: Command, prepare: Callable[[], object]) -> None:
    """Run each command that is asked for in a child, until stdin ends.

    The listening socket is the file descriptor that the first argument names. `prepare` is called
    before the first child is made.
    """
    ready_to_fork = False
    alive, ends = os.pipe()  # children read the end of this process there
    ended, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asking: dict[int, socket.socket] = {}
    with socket.socket(fileno=int(sys.argv[1])) as door:
        while True:
            ready, _, _ = select.select([door, ended, sys.stdin], [], [])
            if sys.stdin in ready:
                os.close(ends)
                return
            if ended in ready:
                ended.recv(SIZE)
                _answer(asking)
            if door in ready:
                client, _ = door.accept()
                if not _is_of_this_user(client):
                    client.close()
                    continue
                if not ready_to_fork:
                    prepare()
                    gc.freeze()  # children need not search what is here for garbage
                    ready_to_fork = True
                child = os.fork()
                if not child:
                    for unused in (door, ended, woken, *asking.values()):
                        unused.close()
                    os.close(ends)
                    _become(client, alive, run)
                asking[child] = client


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _address(environment: Mapping[str, str]) -> str:
    """A name that the system drops with its process, for those who share token and environment."""
    shared = {name: value for name, value in environment.items() if name not in OF_A_JOB}
    who = [sys.prefix, str(Path(__file__).resolve()), *sorted(shared.items())]
    digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:16]
    return f"\0lorasb-{environment[TOKEN]}-{digest}"


def _is_of_this_user(peer: socket.socket) -> bool:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] == os.getuid()


def _answer(asking: dict[int, socket.socket]) -> None:
    """Send the status of each child that has ended: negative where a signal ended it."""
    while asking:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        with asking.pop(child) as client, suppress(OSError):
            client.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(client: socket.socket, alive: int, run: Command) -> None:
    """Run the client's command as if this process had been started by it, and exit."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, *_ = socket.recv_fds(client, SIZE, 3)
    asked: dict[str, Any] = json.loads(message)
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    del os.environ[TOKEN]  # what it starts in its turn runs on its own
    client.send(b"begun")
    Thread(target=_watch, args=(client, alive), daemon=True).start()
    run(asked["argv"])
    sys.exit()


def _watch(client: socket.socket, alive: int) -> None:
    """Take over the client's signals; end at once when the client or the service is killed."""
    both = [client.fileno(), alive]
    while alive not in select.select(both, [], [])[0] and (sent := client.recv(1)):
        os.kill(os.getpid(), sent[0])
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _passing_on(service: socket.socket) -> Iterator[None]:
    """Send the number of each signal to the child in place of ending by it."""

    def send(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            service.send(bytes([number]))

    heard = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, send) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _import_and_build() -> None:
    for name in IMPORTED:
        import_module(name)
    # built when the first model is loaded, in some 0.3 s
    conversions = import_module("transformers.conversion_mapping")
    conversions.get_checkpoint_conversion_mapping("llama")


def _run_lorasb(argv: Sequence[str]) -> None:
    sys.argv[1:] = argv
    run_module("lorasb", run_name="__main__")


if __name__ == "__main__":
    serve(_run_lorasb, _import_and_build)
