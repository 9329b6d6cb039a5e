"""The local engine: each attempt is a folder and a supervisor process that outlives us.

`$SILL_HOME/runs/<run_id>/<attempt>/` holds `work/` (the command's working folder), `outputs/` (files to keep),
`task.json`, and the supervisor's files (see `supervisor`). A handle is made from the folder's name alone, so that
nobody has to remember anything: after a crash the folder says what became of the attempt. The command runs as the
same user and may put links where our files are; we open everything in the folder without following any.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sill.core.errors import InvalidValue, NotFound, SillError, Unavailable
from sill.core.names import shorten
from sill.core.settings import Settings
from sill.engines.local import machine, processes
from sill.engines.local.accelerators.inventory import Inventory
from sill.engines.local.samples import read_samples
from sill.engines.types import Capacity, EngineStatus, Life, LogPiece, Machine, Outputs, Sample, StartSpec, Used
from sill.safety.archive import ArchiveLimits, extract
from sill.safety.paths import Folder

OUTPUTS_MAX = 1_000
CODE_LIMITS = ArchiveLimits(bytes_max=1024**3, entries_max=20_000)
STATUS_BYTES_MAX = 64 * 1024
READY_BYTES = 16
_HANDLE = re.compile(r"local:(run-[0-9a-z]{8,40})/([1-9][0-9]{0,5})")


class LocalEngine:
    """Runs processes on this machine. See `sill.engines.types.Engine` for what each method promises."""

    def __init__(self, settings: Settings) -> None:
        self._runs = settings.home / "runs"
        self._settings = settings
        self._inventory = Inventory(settings.accelerators)

    def capacity(self) -> Capacity:
        return machine.capacity(self._inventory, self._settings.cpus, self._settings.memory_bytes)

    def describe(self) -> Machine:
        return machine.describe()

    def handle(self, run_id: str, attempt: int) -> str:
        return f"local:{run_id}/{attempt}"

    def start(self, spec: StartSpec, code: BinaryIO | None = None) -> str:
        handle = self.handle(spec.run_id, spec.attempt)
        folder = self._folder(handle)
        if (folder / "started.json").exists():
            return handle
        self._prepare(folder, spec, code)
        self._launch(folder, self._order(folder, spec))
        return handle

    def poll(self, handle: str) -> EngineStatus:
        folder = self._folder(handle)
        is_alive = _is_locked(folder / "alive.lock")  # asked first: the status is written before the lock is let go
        if (folder / "status.json").exists():
            return _read_status(folder)
        if is_alive:
            return EngineStatus(life=Life.ALIVE, usage=_read_usage(folder))
        if not (folder / "started.json").exists():
            return EngineStatus(life=Life.ABSENT)
        detail = "its supervisor was killed, or the machine was restarted"
        return EngineStatus(life=Life.LOST, cause="engine", detail=f"{detail}.", usage=_read_usage(folder))

    def exit_descriptor(self, handle: str) -> int | None:
        folder = self._folder(handle)
        started = _read_json(folder, "started.json")
        pid = started.get("pid", 0)
        if not isinstance(pid, int) or pid <= 0 or not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        if processes.start_ticks(pid) != started.get("start_ticks"):  # the pid went to somebody else
            os.close(descriptor)
            return None
        return descriptor

    def stop(self, handle: str, grace_s: float) -> None:
        folder = self._folder(handle)
        if folder.exists() and not (folder / "stop").exists():
            with Folder(folder).open("stop", "wb") as file:
                file.write(f"{grace_s:g}".encode())

    def kill_left(self, handle: str) -> int:
        folder = self._folder(handle)
        if self.poll(handle).life is not Life.LOST:
            return 0
        left = set(processes.with_environment(f"SILL_RUN_FOLDER={folder}"))
        return processes.send(left, signal.SIGKILL)

    def read_log(self, handle: str, offset: int, limit: int) -> LogPiece:
        folder = self._folder(handle)
        if not (folder / "output.log").exists():
            return LogPiece(data=b"", size_bytes=0)
        with Folder(folder).open("output.log") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            return LogPiece(data=file.read(limit), size_bytes=size)

    def read_samples(self, handle: str, offset: int, limit: int) -> tuple[list[Sample], int]:
        return read_samples(self._folder(handle), offset, limit)

    def outputs(self, handle: str) -> Outputs:
        folder = self._folder(handle)
        if not folder.exists():
            return Outputs()
        files: list[str] = []
        refused: list[str] = []
        _collect(Folder(folder), "outputs", files, refused)
        return Outputs(files=tuple(files), refused=tuple(refused))

    def open_output(self, handle: str, path: str) -> BinaryIO:
        return Folder(self._folder(handle)).open(f"outputs/{path}")

    def remove(self, handle: str) -> int:
        folder = self._folder(handle)
        freed = _size_bytes(folder)
        shutil.rmtree(folder, onerror=_insist)
        with contextlib.suppress(OSError):  # other attempts are still there
            folder.parent.rmdir()
        return freed

    def _folder(self, handle: str) -> Path:
        parts = _HANDLE.fullmatch(handle)
        if parts is None:
            raise InvalidValue(f"{shorten(handle)!r} is not a handle of the local engine.")
        return self._runs / parts[1] / parts[2]

    def _prepare(self, folder: Path, spec: StartSpec, code: BinaryIO | None) -> None:
        """Make the folder. Each step is done whole or not at all, so that a repeat goes on where a crash left it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "outputs").mkdir(mode=0o700, exist_ok=True)
        if spec.task:
            with Folder(folder).open("task.json", "wb") as file:
                file.write(msgspec.json.encode(spec.task))
        work = folder / "work"
        if work.exists():
            return
        before = self._folder(self.handle(spec.run_id, spec.attempt - 1)) / "work" if spec.attempt > 1 else None
        if spec.resume and before is not None and before.is_dir():
            before.rename(work)
            return
        fresh = folder / "unpack.tmp"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if code is not None:
            extract(code, Folder(fresh), CODE_LIMITS)
        fresh.rename(work)

    def _order(self, folder: Path, spec: StartSpec) -> dict[str, Any]:
        """What the supervisor is told."""
        own = {"SILL_RUN_FOLDER": str(folder)}
        if spec.task:
            own["SILL_TASK"] = str(folder / "task.json")
        env = {**machine.clean_environment(), **machine.thread_variables(spec.cpus), **spec.env, **own}
        return {
            "command": spec.command,
            "env": env,
            "redact": spec.redact,
            "workers": spec.workers,
            "memory_bytes": spec.memory_bytes,
            "timeout_s": spec.timeout_s,
            "accelerators": spec.accelerators * spec.workers,
            "seen": [self._inventory.variables(spec.accelerator, part) for part in _parts(spec)],
            "relay": self._relay_order(folder, spec),
        }

    def _relay_order(self, folder: Path, spec: StartSpec) -> dict[str, Any]:
        if not spec.relay:
            return {}
        attempts = [self._folder(self.handle(spec.run_id, number)) for number in range(1, spec.attempt)]
        left = [str(attempt / "spool") for attempt in attempts if (attempt / "spool").is_dir()]
        command = [sys.executable, "-I", "-m", "sill.relay", str(folder / "spool"), *left]
        return {"command": command, "env": machine.clean_environment(), "told": spec.relay, "has_left": bool(left)}

    def _launch(self, folder: Path, order: dict[str, Any]) -> None:
        """Start the supervisor and wait until it has the attempt in hand (about 40 ms). It leaves us by a second fork."""
        with subprocess.Popen(
            [sys.executable, "-I", "-m", "sill.engines.local.supervisor", str(folder)],
            cwd=folder,
            env=machine.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as supervisor:
            assert supervisor.stdin is not None
            assert supervisor.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                supervisor.stdin.write(json.dumps(order).encode())
                supervisor.stdin.close()
            is_ready = supervisor.stdout.read(READY_BYTES) != b""
        if not is_ready and not (folder / "started.json").exists():
            raise Unavailable("the run's supervisor did not start.", fix="Look at `sill doctor`, then try again.")


def _parts(spec: StartSpec) -> list[tuple[int, ...]]:
    """The devices of each worker."""
    each = len(spec.devices) // spec.workers
    return [spec.devices[rank * each : (rank + 1) * each] for rank in range(spec.workers)]


def _is_locked(path: Path) -> bool:
    """True if a supervisor holds the lock. The kernel lets it go with the process, however that ended."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """The object in the file; empty if there is none, or if the run's own process put something else there."""
    try:
        with Folder(folder).open(name) as file:
            found = json.loads(file.read(STATUS_BYTES_MAX))
    except (SillError, ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_status(folder: Path) -> EngineStatus:
    try:
        return msgspec.convert({**_read_json(folder, "status.json"), "life": Life.ENDED}, EngineStatus)
    except msgspec.ValidationError:
        return EngineStatus(life=Life.ENDED, cause="engine", detail="its status file cannot be read.")


def _read_usage(folder: Path) -> Used:
    try:
        return msgspec.convert(_read_json(folder, "meter.json"), Used)
    except msgspec.ValidationError:
        return Used()


def _collect(folder: Folder, relative: str, files: list[str], refused: list[str]) -> None:
    """Regular files under `outputs`, and what else is there, each with the reason why it is not taken."""
    try:
        plain = folder.list(relative)
        every = os.listdir(folder.root / relative)
    except (SillError, OSError) as wrong:
        refused.append(f"{relative}: {wrong}")
        return
    shown = relative.removeprefix("outputs").lstrip("/")
    for name in sorted(every):
        path = f"{relative}/{name}"
        if len(files) + len(refused) >= OUTPUTS_MAX:
            refused.append(f"{shown or '.'}: more than {OUTPUTS_MAX} files")
            return
        try:
            is_folder = name in plain and stat.S_ISDIR(folder.stat(path).st_mode)
        except (InvalidValue, NotFound) as wrong:
            refused.append(f"{path.removeprefix('outputs/')}: {wrong.message}")
            continue
        if name not in plain:
            refused.append(f"{path.removeprefix('outputs/')}: not a regular file (link, FIFO, socket or device)")
        elif is_folder:
            _collect(folder, path, files, refused)
        else:
            files.append(path.removeprefix("outputs/"))


def _size_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _insist(_remove: Any, path: str, _failure: Any) -> None:
    """A folder the run made unreadable is opened up and removed again; what is gone already is fine."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)
    except FileNotFoundError:
        return
