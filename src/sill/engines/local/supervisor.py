"""Runs one attempt of a run: starts the workers, keeps their output, meters and bounds them, and writes how it ended.

Its own process, in its own session, started as `python -I -m sill.engines.local.supervisor FOLDER` with the order as
JSON on standard input (so that no secret touches the disk). It imports the standard library only and outlives the
control plane. Files in the folder:

    alive.lock     locked exclusively as long as the supervisor lives
    started.json   made once, with the supervisor's pid and start time: whoever finds it does not start again
    output.log     output of all workers
    meter.json     use so far, every few seconds; for attempts that are lost
    stop           made by the engine: end, and kill after so many seconds
    status.json    how it ended, durable
"""

import contextlib
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from sill.engines.local import processes
from sill.engines.local.gauges import Gauges
from sill.engines.local.meter import Meter
from sill.engines.local.output import Output
from sill.engines.local.relaying import RelayHost
from sill.engines.local.sampling import Samples

TICK_S = 0.1
SAMPLE_S = 0.5
KEEP_METER_S = 2.0
GRACE_S = 10.0
"""Between SIGTERM and SIGKILL where nobody said otherwise."""
DRAIN_S = 1.0
LOCK_TRIES = 20
LOCK_WAIT_S = 0.1
READ_BYTES = 64 * 1024
OPEN_FILES_MAX = 65_536
READY = b"ready\n"


class Supervisor:
    """One attempt. `run` returns when all is over and written down."""

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self.folder = folder
        self.order = order
        self.size: int = order["workers"]
        self.memory_bytes_max: int = order["memory_bytes"] * self.size
        redact = [text.encode() for text in order["redact"]]
        self.output = Output(folder / "output.log", redact=redact, prefixed=self.size > 1)
        self.meter = Meter(self.memory_bytes_max)
        self.samples = Samples(folder, Gauges(folder))
        self.relay = RelayHost(folder, order["relay"]) if order.get("relay") else None
        self._is_relay_called = False
        self.workers: list[subprocess.Popen[bytes]] = []
        self.selector = selectors.DefaultSelector()
        self.started_us = time.time_ns() // 1_000
        self.ending: dict[str, Any] = {}
        self.kill_at = float("inf")
        self._is_wish_seen = False
        self._begin = time.monotonic()
        self._next_sample = 0.0
        self._next_keep = 0.0

    def run(self) -> None:
        """Start, watch, end, write down."""
        wake = _wake_on_child()
        self.selector.register(wake, selectors.EVENT_READ, None)
        try:
            self._start()
            while any(worker.returncode is None for worker in self.workers):
                self._pump(TICK_S)
                self._reap()
                self._judge()
        finally:
            self._end()

    def _start(self) -> None:
        shared = self._gang_variables() | self._relay_variables()
        for rank in range(self.size):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "ROLE_RANK": str(rank)} if self.size > 1 else {}
            try:
                worker = self._spawn({**self.order["env"], **shared, **own, **self.order["seen"][rank]})
            except OSError as wrong:
                command = self.order["command"][0]
                why = f"the command {command[:200]!r} could not be started: {wrong.strerror or wrong}."
                self._stop("spawn", why, rank=rank, grace_s=0.0, exit_code=127)
                return
            assert worker.stdout is not None
            os.set_blocking(worker.stdout.fileno(), False)
            self.selector.register(worker.stdout, selectors.EVENT_READ, rank)
            self.workers.append(worker)

    def _spawn(self, env: dict[str, str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.order["command"],
            cwd=self.folder / "work",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_prepare_child,
        )

    def _gang_variables(self) -> dict[str, str]:
        """What torchrun sets (torch.distributed.run, "Environment Variables"), for one machine."""
        if self.size == 1:
            return {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        size = str(self.size)
        return {
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "ROLE_WORLD_SIZE": size,
            "GROUP_RANK": "0",
            "GROUP_WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }

    def _pump(self, timeout_s: float) -> bool:
        """Move what was written into the log; False if nothing was there in time."""
        self._await_caller()
        ready = self.selector.select(timeout_s)
        for key, _ in ready:
            descriptor = key.fd
            if self.relay is not None and key.fileobj is self.relay.socket:
                self._start_relay(self.relay)
                continue
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            if key.data is None:
                continue  # a child ended; `_reap` looks which
            if data:
                self.output.write(key.data, data)
            else:
                self.selector.unregister(key.fileobj)
        if not ready:
            self.output.flush()
        return bool(ready)

    def _relay_variables(self) -> dict[str, str]:
        return {"MLFLOW_TRACKING_URI": self.relay.url} if self.relay is not None else {}

    def _await_caller(self) -> None:
        """Look at the relay's address while it has no process."""
        if self.relay is not None and not self._is_relay_called and self.relay.is_wanted and not self.ending:
            self.selector.register(self.relay.socket, selectors.EVENT_READ, None)
            self._is_relay_called = True

    def _start_relay(self, relay: RelayHost) -> None:
        self.selector.unregister(relay.socket)
        try:
            relay.start()
        except OSError as wrong:
            self.output.say(f"the relay for MLflow's clients could not be started: {wrong}")
        self.meter.without = relay.pid

    def _reap(self) -> None:
        """Wait for every child that ended: our workers, and orphans that came to us."""
        ours = {worker.pid: rank for rank, worker in enumerate(self.workers)}
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if self.relay is not None and ended.si_pid == self.relay.pid:
                self.relay.reaped()
                self._is_relay_called = False
                self.meter.without = 0
                continue
            if ended.si_pid not in ours:
                os.waitpid(ended.si_pid, 0)
                continue
            rank = ours[ended.si_pid]
            code = self.workers[rank].wait()
            if code != 0 and not self.ending:
                self._worker_failed(rank, code)

    def _worker_failed(self, rank: int, code: int) -> None:
        name = f"worker {rank}" if self.size > 1 else "the command"
        number = max(-code, 0)
        how = f"was ended by signal {number} ({_signal_name(number)})" if number else f"ended with exit code {code}"
        last = self.size == 1 or all(worker.returncode is not None for worker in self.workers)
        others = "" if last else "; the other workers were stopped"
        self._stop(
            "exit", f"{name} {how}{others}.", rank=rank, exit_code=None if number else code, signal=number, is_said=last
        )

    def _judge(self) -> None:
        """Look at limits and wishes, now and then."""
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_S
            self._check_memory(self.meter.sample())
            self.samples.take(self._tree())
        if now >= self._next_keep:
            self._next_keep = now + KEEP_METER_S
            write_json(self.folder, "meter.json", self._usage(), is_durable=False)
        if self.order["timeout_s"] and now - self._begin > self.order["timeout_s"] and not self.ending:
            self._stop("timeout", f"it ran longer than its timeout of {self.order['timeout_s']:g} s.")
        if not self._is_wish_seen:
            wish = _read_wish(self.folder)
            if wish is not None:
                self._is_wish_seen = True
                self._stop("stopped", "it was stopped.", grace_s=wish)
        if now >= self.kill_at:
            processes.send(self._tree(), signal.SIGKILL)

    def _check_memory(self, used_bytes: int) -> None:
        if self.memory_bytes_max and used_bytes > self.memory_bytes_max and not self.ending:
            used, allowed = used_bytes / 1024**2, self.memory_bytes_max / 1024**2
            why = f"it used {used:,.0f} MiB of memory, {allowed:,.0f} MiB were asked for."
            self._stop("memory", f"{why} Ask for more, or use less.", grace_s=0.0)

    def _stop(
        self,
        cause: str,
        detail: str,
        *,
        rank: int = -1,
        grace_s: float = GRACE_S,
        exit_code: int | None = None,
        signal: int = 0,
        is_said: bool = False,
    ) -> None:
        """Begin the end: ask all workers, remember why, and when to kill what is left. The first cause stays."""
        if not self.ending:
            self.ending = {"cause": cause, "detail": detail, "rank": rank, "exit_code": exit_code, "signal": signal}
            if not is_said:
                self.output.finish()
                self.output.say(detail)
        for worker in self.workers:
            if worker.returncode is None:
                processes.send_group(worker.pid, _SIGTERM)
        self.kill_at = min(self.kill_at, time.monotonic() + grace_s)

    def _end(self) -> None:
        """Nothing survives the attempt: kill what is left, read the last output, write the status."""
        deadline = time.monotonic() + DRAIN_S
        while self._tree():
            processes.send(self._tree(), signal.SIGKILL)
            self._pump(0.02)
            self._reap()
            if time.monotonic() > deadline:
                break
        while self._pump(0) and time.monotonic() < deadline:
            continue
        self.meter.sample()
        self.samples.close()
        ending = self.ending or {"cause": "exit", "detail": "", "rank": -1, "exit_code": 0, "signal": 0}
        times = {"started_us": self.started_us, "ended_us": time.time_ns() // 1_000}
        status = {**ending, **times, "usage": self._usage()}
        self._finish_relay()
        self.output.close()
        write_json(self.folder, "status.json", status, is_durable=True)

    def _finish_relay(self) -> None:
        """What was logged arrives before the attempt is over: its token ends with it."""
        if self.relay is None:
            return
        self.output.flush()
        if self.relay.finish() != 0:
            self.output.finish()
            self.output.say("not all that was logged could be sent; `sill spool` shows what is left.")

    def _tree(self) -> list[int]:
        if processes.HAS_PROC:
            return processes.descendants(os.getpid(), self.meter.without)
        return [worker.pid for worker in self.workers if worker.returncode is None]

    def _usage(self) -> dict[str, float]:
        return self.meter.usage(self.order["accelerators"])


def write_json(folder: Path, name: str, content: dict[str, Any], *, is_durable: bool) -> None:
    """Write the file whole or not at all; if durable, it is on disk when this returns."""
    fresh = folder / f".{name}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.rename(folder / name)
    if is_durable:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """0 once all is written down; 1 if somebody else has this attempt in hand."""
    folder = Path(sys.argv[1])
    os.umask(0o077)
    order = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # whoever started us waits for this process only; we belong to nobody
    lock = _lock(folder)
    if lock is None or not _claim(folder):
        return 1
    processes.adopt_orphans()
    with contextlib.suppress(
        BrokenPipeError
    ):  # whoever started us was killed meanwhile; the attempt is ours all the same
        os.write(1, READY)
    _let_go()
    try:
        Supervisor(folder, order).run()
    except Exception:  # the edge: whatever went wrong is written where the engine looks
        traceback.print_exc()
        if not (folder / "status.json").exists():
            detail = "the supervisor failed; supervisor.log in the run folder has the details."
            ending = {"cause": "engine", "detail": detail, "rank": -1, "exit_code": None, "signal": 0, "usage": {}}
            write_json(folder, "status.json", {**ending, "started_us": 0, "ended_us": 0}, is_durable=True)
    return 0


_SIGTERM = signal.SIGTERM


def _lock(folder: Path) -> int | None:
    """The lock that says somebody lives. A poll may hold it for an instant, so it is tried for a while."""
    descriptor = os.open(folder / "alive.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(LOCK_WAIT_S)
    return None


def _claim(folder: Path) -> bool:
    """Make `started.json` if nobody did: an attempt is started once, whatever happened to those who asked for it."""
    name = f"claim.{os.getpid()}"
    who = {"pid": os.getpid(), "start_ticks": processes.start_ticks(os.getpid()), "at_us": time.time_ns() // 1_000}
    write_json(folder, name, who, is_durable=True)
    try:
        os.link(folder / name, folder / "started.json")
    except FileExistsError:
        return False
    finally:
        (folder / name).unlink()
    sync_folder(folder)
    return True


def _let_go() -> None:
    """Standard streams to nowhere (errors to a file): the control plane that started us may die."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    errors = os.open("supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for source, target in ((nowhere, 0), (nowhere, 1), (errors, 2)):
        os.dup2(source, target)


def _wake_on_child() -> int:
    """A descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, lambda _number, _frame: None)  # an end is asked for by the `stop` file
    return reading


def _prepare_child() -> None:
    """Between fork and exec: die with the supervisor, no core files, first choice when memory runs out."""
    processes.die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard > OPEN_FILES_MAX or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _read_wish(folder: Path) -> float | None:
    """Seconds of grace if somebody asked for the end, otherwise None."""
    try:
        return max(0.0, float((folder / "stop").read_text()[:32] or GRACE_S))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return GRACE_S


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
