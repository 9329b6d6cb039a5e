"""A model in a process of its own, behind the port: its crash fails its requests only, and closing it frees its memory."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, NotFound, Refused, SillError, TooLarge, Unavailable
from sill.core.names import shorten
from sill.runtimes import wire
from sill.runtimes.types import Signature

LOAD_S_MAX = 120.0
ANSWER_S_MAX = 60.0
"""A worker that takes longer for an answer is ended, and started again for the next question."""
MEMORY_BYTES_MAX = 8 * 1024**3
"""Data a worker may hold."""
CRASHES_MAX = 20
"""Crashes in a row after which a model is left down: it answers nobody, and starts cost."""
_BOOT = "import sys; sys.path.append(sys.argv.pop()); from sill.runtimes.worker import main; main()"
_SOURCES = str(Path(__file__).resolve().parents[2])
_STARTER = ThreadPoolExecutor(1, "sill-worker-starter")
"""One thread starts every worker and never ends: a worker dies with the thread that started it."""


class WorkerRuntime:
    """The runtime of a driver, in a process of its own.

    Args:
        driver: the driver's class, as `module:Class`; the worker imports it.
        model_file: the file that `load` with bytes stands for.
        must_confine: refuse to run where the process cannot be confined: for code, not only files.
    """

    def __init__(self, driver: str, model_file: str, *, must_confine: bool) -> None:
        self._driver = driver
        self._model_file = model_file
        self._must_confine = must_confine
        self._lock = threading.Lock()
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._folder: Path | None = None
        self._device = "cpu"
        self._signature: Signature | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._crashes = 0

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. The worker is started; what the library does with the file, it does there."""
        self.close()
        self._own = tempfile.TemporaryDirectory(prefix="sill-model-")
        try:
            self._folder, self._device = self._placed(bundle, Path(self._own.name)), device
            with self._lock:
                self._start()
        except BaseException:
            self.close()
            raise

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. One question at a time; others wait.

        Raises:
            Unavailable: the worker died of this question, or took longer than `ANSWER_S_MAX`.
        """
        with self._lock:
            self._ready()
            head, tensors = self._ask(wire.Head(kind="infer"), inputs, ANSWER_S_MAX)
            if head.failure is not None:
                raise wire.as_error(head.failure)
            self._crashes = 0
            return tensors

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """See `Streams.stream`. Other questions wait until it has ended."""
        with self._lock:
            self._ready()
            head, tensors = self._ask(wire.Head(kind="stream"), inputs, ANSWER_S_MAX)
            is_open = head.kind == "part"
            try:
                while head.kind == "part":
                    yield tensors
                    is_open = False  # an error of the line itself needs no stop
                    head, tensors = self._ask(wire.Head(kind="next"), {}, ANSWER_S_MAX)
                    is_open = head.kind == "part"
            finally:
                if is_open:
                    self._ask(wire.Head(kind="stop"), {}, ANSWER_S_MAX)
            if head.failure is not None:
                raise wire.as_error(head.failure)

    def signature(self) -> Signature:
        """See `Runtime.signature`."""
        if self._signature is None:
            raise _nothing_loaded()
        return self._signature

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`: what the worker holds in memory now."""
        import psutil

        process = self._process
        if process is None or process.poll() is not None:
            return 0
        try:
            return int(psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def close(self) -> None:
        """See `Runtime.close`. A question under way ends with an error."""
        self._folder = self._signature = None
        self._end()
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    def __del__(self) -> None:
        self.close()  # whoever forgets a model must not leave its process behind

    def _placed(self, bundle: Path | bytes, own: Path) -> Path:
        (own / "scratch").mkdir()
        if isinstance(bundle, Path):
            if not (bundle / self._model_file).exists():
                raise NotFound(f"the bundle {bundle.name!r} has no {self._model_file}.", fix="Register it again.")
            return bundle.resolve()
        (own / "bundle").mkdir()
        (own / "bundle" / self._model_file).write_bytes(bundle)
        return (own / "bundle").resolve()

    def _ready(self) -> None:
        """A worker that died is started again: the model is sound, one question was not."""
        if self._folder is None:
            raise _nothing_loaded()
        if self._process is None or self._process.poll() is not None:
            if self._crashes >= CRASHES_MAX:
                raise Unavailable(
                    f"the model's worker died {self._crashes} times in a row.", fix="Register a version that does not."
                )
            self._start()

    def _start(self) -> None:
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _STARTER.submit(self._spawn, theirs).result()
        self._line = ours
        head, _ = self._ask(wire.Head(kind="load", driver=self._driver, device=self._device), {}, LOAD_S_MAX)
        if head.failure is not None:
            self._end()
            raise wire.as_error(head.failure)
        self._signature = head.signature

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        if self._own is None or self._folder is None:
            raise _nothing_loaded()
        scratch = Path(self._own.name).resolve() / "scratch"
        told = (theirs.fileno(), os.getpid(), self._folder, scratch, MEMORY_BYTES_MAX, int(self._must_confine))
        return subprocess.Popen(
            [sys.executable, "-I", "-W", "ignore", "-c", _BOOT, *map(str, told), _SOURCES],
            pass_fds=(theirs.fileno(),),
            cwd=scratch,
            env={"TMPDIR": str(scratch), "HOME": str(scratch), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _ask(self, head: wire.Head, tensors: Mapping[str, Any], seconds_max: float) -> tuple[wire.Head, dict[str, Any]]:
        """The answer to a message; whatever is wrong with the line ends the worker."""
        line = self._line
        if line is None:
            raise _nothing_loaded()
        try:
            line.settimeout(seconds_max)
            wire.send(line, head, tensors)
        except (TimeoutError, OSError) as gone:
            raise self._died(head.kind) from gone
        try:
            return wire.receive(line)
        except TimeoutError as late:
            self._end()
            raise Unavailable(f"the model did not answer within {seconds_max:g} s.", fix="Ask for less.") from late
        except (InvalidValue, TooLarge) as wrong:
            self._end()
            raise Unavailable(f"the model's worker gave no answer: {wrong.message}", fix="Look at its code.") from wrong
        except (EOFError, OSError) as gone:
            raise self._died(head.kind) from gone

    def _died(self, doing: str) -> SillError:
        how = self._end()
        self._crashes += 1
        text = f"the model's worker died ({how}) at {doing}."
        if doing == "load":
            return Refused(text, fix="The file or its code is not sound: export it again.")
        return Unavailable(text, fix="Send another input; the model is up again.")

    def _end(self) -> str:
        """End the worker; what it died of, if it had died."""
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is None:
            return "it was not started"
        try:
            code = process.wait(timeout=0.2 if process.poll() is None else None)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return shorten(signal.Signals(-code).name if code < 0 else f"exit code {code}")


def _nothing_loaded() -> Unavailable:
    return Unavailable("no model is loaded.", fix="Call load first.")
