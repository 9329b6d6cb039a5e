"""Starts a peer with a model, waits until it answers right, weighs it, and ends it with all its processes."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.inference.models import BenchModel
from bench.inference.peers import Peer
from bench.inference.questions import JSON, Question, ask_once, is_same, last_line
from sill.testing.control_plane import free_ports
from sill.testing.peers import environment

SERVERS = Path(__file__).with_name("servers")
START_S_MAX = 180.0
STOP_S = 5.0
LOOK_S = 0.01
WORDS_MAX = 300
MB = 1e6


class NotServed(Exception):
    """A server could not be installed or started, or answers wrong; the message says which."""


@dataclass(frozen=True)
class Server:
    """One that answers.

    Attributes:
        questions: one row of the model, by protocol.
        refused: why a protocol it should speak is not among them.
        cold_s: from the start of its process to its first right answer.
        memory_mb: the proportional set size of all its processes now.
        cpu_s: how much processor time all its processes have had.
    """

    title: str
    questions: dict[str, Question]
    refused: dict[str, str]
    cold_s: float
    memory_mb: Callable[[], float]
    cpu_s: Callable[[], float]


@contextmanager
def running(peer: Peer, model: BenchModel, file: Path, expected: Any) -> Iterator[Server]:
    """The peer with one model, answering.

    Raises:
        NotServed: it does not come to that.
    """
    try:
        python = environment(peer.environment)
    except Exception as cannot:
        raise NotServed(f"cannot be installed: {cannot}") from cannot
    port = free_ports()
    log = file.with_name(f"{peer.name}-{model.name}.log")
    command = [str(python), str(SERVERS / peer.script), str(file), str(port), str(port + 1)]
    started_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_variables(python),
            start_new_session=True,
        )
    try:
        first = peer.question(JSON, model, port, port + 1)
        wait_until_right(first, expected, process, log, started_s)
        cold_s = time.monotonic() - started_s
        time.sleep(peer.settle_s)
        questions, refused = {}, {}
        for protocol in peer.protocols:
            try:
                questions[protocol] = right(peer.question(protocol, model, port, port + 1), expected)
            except (OSError, ValueError, http.client.HTTPException) as wrong:
                refused[protocol] = f"{type(wrong).__name__}: {wrong}"[:WORDS_MAX]
        number = process.pid
        yield Server(peer.title, questions, refused, cold_s, lambda: pss_mb(tree(number)), lambda: cpu_s(tree(number)))
    finally:
        end(process)


def wait_until_right(
    asked: Question, expected: Any, process: "subprocess.Popen[bytes]", log: Path, started_s: float
) -> None:
    """Wait for the first answer, which must be right.

    Raises:
        NotServed: it is wrong, does not come, or the process ends.
    """
    last: Exception = TimeoutError("nothing was tried")
    while time.monotonic() - started_s < START_S_MAX and process.poll() is None:
        try:
            right(asked, expected)
            return
        except (OSError, ValueError, http.client.HTTPException) as wrong:
            last = wrong
        time.sleep(LOOK_S)
    words = last_line(log.read_text(errors="replace"))
    raise NotServed(f"does not answer ({type(last).__name__}: {last}); its last words: {words}"[:WORDS_MAX])


def right(asked: Question, expected: Any) -> Question:
    """The question, if it is answered right.

    Raises:
        OSError, ValueError: it is not.
    """
    found = ask_once(asked)
    if not is_same(found, expected):
        raise ValueError(f"a wrong answer: {found[:4]} where {expected.ravel()[:4]} is right")
    return asked


def tree(process_id: int) -> list[psutil.Process]:
    """A process and all below it."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process_id)
        return [root, *root.children(recursive=True)]
    return []


def pss_mb(processes: list[psutil.Process]) -> float:
    """Proportional set size of processes together, in MB."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / MB


def cpu_s(processes: list[psutil.Process]) -> float:
    """Seconds of processor time that processes have had together, in the user's and the kernel's part."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and whatever it started."""
    every = tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    for each in every:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait()


def _variables(python: Path) -> dict[str, str]:
    """Its programs are found before others; nothing of ours leads it to other libraries."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SILL_", "LD_"))}
    quiet = {"BENTOML_DO_NOT_TRACK": "1", "ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return kept | quiet | {"OMP_NUM_THREADS": "1", "PATH": f"{python.parent}:{kept.get('PATH', os.defpath)}"}
