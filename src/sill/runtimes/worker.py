"""The process a model lives in. It confines itself before it reads the model, then answers one question at a time.

It is forked by `warm_parent`, with a socket, the model's folder and a scratch folder; it has no token and no other file.
"""

import contextlib
import os
import socket
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, Refused
from sill.runtimes import wire
from sill.runtimes.drivers import Driver
from sill.runtimes.nursery import Order
from sill.safety.confinement import confine, readable_for_python


def work(line: socket.socket, order: Order) -> None:
    """Confine this process for good, then answer until the line is closed."""
    os.setsid()
    os.chdir(order.scratch)
    os.environ.update(TMPDIR=order.scratch, HOME=order.scratch)
    tempfile.tempdir = None  # it may have been looked up before
    reads = [*readable_for_python(), Path(order.folder)]
    try:
        confine(reads=reads, writes=[Path(order.scratch), Path("/dev/null")], memory_bytes_max=order.memory_bytes_max)
    except Refused as unable:
        if order.must_confine:
            wire.send(line, wire.Head(kind="end", failure=wire.as_failure(unable)))
            return
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Worker(line, Path(order.folder)).run()


def driver_class(place: str) -> type[Driver]:
    """The driver at `module:Class`."""
    module, _, name = place.partition(":")
    found: type[Driver] = getattr(import_module(module), name)
    return found


class Worker:
    """Answers what comes over the line, until it is closed."""

    def __init__(self, line: socket.socket, folder: Path) -> None:
        self._line = line
        self._folder = folder
        self._runtime: Any = None

    def run(self) -> None:
        """One question after another."""
        while True:
            head, tensors = wire.receive(self._line)
            try:
                self._do(head, tensors)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except MemoryError:
                refused = InvalidValue("the question needs more memory than the model's worker may have.")
                wire.send(self._line, wire.Head(kind="end", failure=wire.as_failure(refused)))
            except Exception as failed:  # whatever a model raises is the answer to this question
                wire.send(self._line, wire.Head(kind="end", failure=wire.as_failure(failed)))

    def _do(self, head: wire.Head, tensors: dict[str, Any]) -> None:
        if head.kind == "load":
            self._runtime = driver_class(head.driver)()
            self._runtime.load(self._folder, head.device)
            wire.send(self._line, wire.Head(kind="end", signature=self._runtime.signature()))
        elif head.kind == "stream":
            self._stream(tensors)
        else:
            wire.send(self._line, wire.Head(kind="answer"), self._runtime.infer(tensors))

    def _stream(self, tensors: dict[str, Any]) -> None:
        """Part by part; each is sent once the former was taken, so that nothing piles up and a stop is heard at once."""
        parts = self._runtime.stream(tensors)
        try:
            for part in parts:
                wire.send(self._line, wire.Head(kind="part"), part)
                if wire.receive(self._line)[0].kind == "stop":
                    break
        finally:
            if hasattr(parts, "close"):
                parts.close()
        wire.send(self._line, wire.Head(kind="end"))
