"""An engine without processes: an attempt ends when its time is over by the clock it was given. For simulations, benches
and kills of the control plane; with a folder, its attempts outlive the process that started them, as real ones do.
"""

import os
from collections.abc import Callable
from heapq import heappop, heappush
from pathlib import Path
from typing import BinaryIO

import msgspec

from sill.core.accelerators import AcceleratorType, Device
from sill.core.clock import Clock
from sill.engines.types import Capacity, EngineStatus, Life, LogPiece, Machine, Outputs, Sample, StartSpec, Used

RUNTIME = "RUNTIME_S"
"""The variable of a run that says how many seconds it takes."""
JOURNAL = "attempts.jsonl"
ASK_S = 0.02


class Attempt(msgspec.Struct):
    """One attempt: when it started, and when and how it is over."""

    handle: str
    start_us: int
    end_us: int
    cpus: float
    cause: str = "exit"


def with_devices(cpus: float, many: int, kind: str = "t4") -> Capacity:
    """A machine with devices of one kind, and a gigabyte of memory."""
    devices = tuple(Device(type=kind, driver="declared", name=str(number)) for number in range(many))
    return Capacity(cpus=cpus, memory_bytes=1024**3, devices=devices, types=(AcceleratorType(name=kind),))


class FakeEngine:
    """Starts nothing, and says that it did.

    Args:
        folder: where attempts are written down; they are forgotten with the process without.
        step: called before and after an attempt is written down, so that a test can kill the process there.
    """

    def __init__(
        self,
        clock: Clock,
        capacity: Capacity,
        folder: Path | None = None,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self.ask_s = ASK_S
        self._clock = clock
        self._capacity = capacity
        self._journal = folder / JOURNAL if folder else None
        self._step = step
        self.attempts: dict[str, Attempt] = {}
        self._ends: list[tuple[int, str]] = []
        if self._journal is not None and self._journal.exists():
            for attempt in read_attempts(self._journal):
                self._keep(attempt)

    @property
    def next_end_us(self) -> int:
        """When the next attempt ends that was not told of; 0 for never."""
        return self._ends[0][0] if self._ends else 0

    def capacity(self) -> Capacity:
        """What it was told."""
        return self._capacity

    def describe(self) -> Machine:
        """A machine that is none."""
        return Machine(host="fake", python="3", machine="fake", environment="")

    def handle(self, run_id: str, attempt: int) -> str:
        """The name of an attempt."""
        return f"fake:{run_id}/{attempt}"

    def start(self, spec: StartSpec, code: BinaryIO | None = None) -> str:
        """Begin to count the attempt's time; a repeat changes nothing."""
        handle = self.handle(spec.run_id, spec.attempt)
        if handle not in self.attempts:
            now_us = self._clock.now_us()
            end_us = now_us + round(float(spec.env.get(RUNTIME, "0")) * 1e6)
            self._write(Attempt(handle, now_us, end_us, spec.cpus * spec.workers))
        return handle

    def start_many(self, specs: list[StartSpec]) -> None:
        """`start` for each."""
        for spec in specs:
            self.start(spec)

    def ended(self) -> list[tuple[str, EngineStatus]]:
        """Attempts whose time is over and that were not told of."""
        told = []
        while self._ends and self._ends[0][0] <= self._clock.now_us():
            end_us, handle = heappop(self._ends)
            if self.attempts[handle].end_us == end_us:
                told.append((handle, self.poll(handle)))
        return told

    def poll(self, handle: str) -> EngineStatus:
        """How the attempt stands by the clock."""
        attempt = self.attempts.get(handle)
        if attempt is None:
            return EngineStatus(life=Life.ABSENT)
        until_us = min(self._clock.now_us(), attempt.end_us)
        wall_s = (until_us - attempt.start_us) / 1e6
        usage = Used(wall_s=wall_s, cpu_s=wall_s * attempt.cpus)
        if until_us < attempt.end_us:
            return EngineStatus(life=Life.ALIVE, started_us=attempt.start_us, usage=usage)
        is_exit = attempt.cause == "exit"
        return EngineStatus(
            life=Life.ENDED,
            cause=attempt.cause,
            detail="" if is_exit else "it was stopped.",
            exit_code=0 if is_exit else None,
            started_us=attempt.start_us,
            ended_us=attempt.end_us,
            usage=usage,
        )

    def stop(self, handle: str, grace_s: float) -> None:
        """The attempt is over now."""
        attempt, now_us = self.attempts.get(handle), self._clock.now_us()
        if attempt is not None and now_us < attempt.end_us:
            self._write(msgspec.structs.replace(attempt, end_us=now_us, cause="stopped"))

    def exit_descriptor(self, handle: str) -> int | None:
        """None: nothing here can be waited for."""
        return None

    def kill_left(self, handle: str) -> int:
        """Nothing is left."""
        return 0

    def read_log(self, handle: str, offset: int, limit: int) -> LogPiece:
        """No output."""
        return LogPiece(data=b"", size_bytes=0)

    def read_samples(self, handle: str, offset: int, limit: int) -> tuple[list[Sample], int]:
        """No gauges."""
        return [], offset

    def outputs(self, handle: str) -> Outputs:
        """No files."""
        return Outputs()

    def open_output(self, handle: str, path: str) -> BinaryIO:
        """There are none."""
        raise FileNotFoundError(path)

    def remove(self, handle: str) -> int:
        """Nothing is on disk."""
        return 0

    def _write(self, attempt: Attempt) -> None:
        self._step()
        if self._journal is not None:
            with self._journal.open("ab") as file:
                file.write(msgspec.json.encode(attempt) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._keep(attempt)
        self._step()

    def _keep(self, attempt: Attempt) -> None:
        self.attempts[attempt.handle] = attempt
        heappush(self._ends, (attempt.end_us, attempt.handle))


def read_attempts(journal: Path) -> list[Attempt]:
    """What was written down; a last line that was cut off is none."""
    lines = journal.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Attempt) for line in lines]
