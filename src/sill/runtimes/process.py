"""A model in a process of its own, behind the port: its crash fails its requests only, and closing it frees its memory."""

import select
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, NotFound, Refused, SillError, TooLarge, Unavailable
from sill.runtimes import wire
from sill.runtimes.drivers import WorkerDied, loaded
from sill.runtimes.nursery import MEMORY_BYTES_MAX, Order, nursery_of
from sill.runtimes.types import Signature

LOAD_S_MAX = 120.0
ANSWER_S_MAX = 60.0
"""A worker that takes longer for an answer is ended, and started again for the next question."""
CRASHES_MAX = 20
"""Crashes in a row after which a model is left down: it answers nobody, and starts cost."""


class WorkerRuntime:
    """The runtime of a driver, in a process of its own.

    Args:
        driver: the driver's class, as `module:Class`; the worker imports it.
        model_file: the file that `load` with bytes stands for.
        must_confine: refuse to run where the process cannot be confined: for code, not only files.
        python: the interpreter that has the driver's library; this process's own when left out.
        memory_bytes_max: data the worker may hold.
    """

    def __init__(
        self,
        driver: str,
        model_file: str,
        *,
        must_confine: bool,
        python: str = "",
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        self._driver = driver
        self._nursery = nursery_of(driver, python)
        self._model_file = model_file
        self._must_confine = must_confine
        self._memory_bytes_max = memory_bytes_max
        self._lock = threading.Lock()
        self._own: tempfile.TemporaryDirectory[str] | None = None
        self._folder: Path | None = None
        self._device = "cpu"
        self._signature: Signature | None = None
        self._pid = 0
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
            WorkerDied: it died while it was asked, of this question or not.
            Unavailable: it took longer than `ANSWER_S_MAX`.
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
        return loaded(self._signature)

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`: what the worker alone holds now, and what its end frees."""
        import psutil

        pid = self._pid
        try:
            return int(psutil.Process(pid).memory_full_info().uss) if pid else 0
        except psutil.Error:
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
        loaded(self._folder)
        if self._line is None or _has_ended(self._line):
            if self._crashes >= CRASHES_MAX:
                raise Unavailable(
                    f"the model's worker died {self._crashes} times in a row.", fix="Register a version that does not."
                )
            self._start()

    def _start(self) -> None:
        self._end()
        scratch = Path(loaded(self._own).name).resolve() / "scratch"
        ours, theirs = socket.socketpair()
        with theirs:
            order = Order(
                kind="start",
                folder=str(loaded(self._folder)),
                scratch=str(scratch),
                memory_bytes_max=self._memory_bytes_max,
                must_confine=self._must_confine,
            )
            self._pid = self._nursery.start(theirs, order)
        self._line = ours
        head, _ = self._ask(wire.Head(kind="load", driver=self._driver, device=self._device), {}, LOAD_S_MAX)
        if head.failure is not None:
            self._end()
            raise wire.as_error(head.failure)
        self._signature = head.signature

    def _ask(self, head: wire.Head, tensors: Mapping[str, Any], seconds_max: float) -> tuple[wire.Head, dict[str, Any]]:
        """The answer to a message; whatever is wrong with the line ends the worker."""
        line = loaded(self._line)
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
        pid = self._let_go()
        code = self._nursery.status(pid) if pid else 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._crashes += 1
        text = f"the model's worker died ({how}) at {doing}."
        if doing == "load":
            return Refused(text, fix="The file or its code is not sound: export it again.")
        return WorkerDied(text, fix="Send another input; the model is up again.")

    def _end(self) -> None:
        """End the worker, whatever it does."""
        if pid := self._let_go():
            self._nursery.kill(pid)

    def _let_go(self) -> int:
        """Close the line; the worker's process id, or 0."""
        (pid, line), self._pid, self._line = (self._pid, self._line), 0, None
        if line is not None:
            line.close()
        return pid


def _has_ended(line: socket.socket) -> bool:
    """Whether a worker that was asked nothing is there no more: it says nothing of itself, only its end is heard."""
    heard = select.poll()
    heard.register(line, select.POLLIN)
    return bool(heard.poll(0))
