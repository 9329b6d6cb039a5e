"""What every process of the serving side does beside its own work: it holds a lock, logs, shows that it lives, and ends well."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sill.api.child_process import LOCK_FILE
from sill.api.home import take_lock
from sill.core.errors import Conflict, SillError, Unavailable
from sill.core.settings import Settings, read_settings
from sill.safety.redaction import RedactingFilter, Redactor

if TYPE_CHECKING:
    import socket

    import uvicorn

BEAT_FILE = "beat"
BEAT_S = 0.25
"""How often a process shows that its loop turns; `heartbeat` looks at it."""
HOME_LOOK_S = 5.0
"""How often it looks whether its home is still there."""
SWITCH_S = 0.000_5
"""How long a thread beside the loop, such as the log's, may hold the interpreter while a request waits."""
FILES_MAX = 65_536
"""Files and connections a process may have open, if the system lets it: often it starts with a thousand."""
YOUNG_MAX = 10_000
"""Objects made and kept before the collector looks; requests make many, and keep hardly any. A busy queue's jobs are many
too, and looking at all of them each time took a tenth of the control plane's processor time."""

Work = Coroutine[Any, Any, None]


def run_process(program: str, begin: Callable[[Settings], tuple[Path, Callable[[], Work]]]) -> int:
    """Run a serving process until it is told to stop. Exit code 2 for what the caller can mend, told on standard error.

    Args:
        begin: the folder whose lock is held, and the work.
    """
    try:
        settings = read_settings()
        start_logging(settings)
        raise_files_max()
        folder, work = begin(settings)
        with hold_lock(folder):
            run_serving(work())
    except SillError as refused:
        print(f"{program}: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


async def serve_beside(
    server: "uvicorn.Server",
    sockets: "list[socket.socket] | None",
    folder: Path,
    works: Iterable[Work],
    *,
    first: Callable[[], Work] | None = None,
    ending: Callable[[], object] = lambda: None,
) -> None:
    """Serve until told to stop, or until some work ends; then what is being answered is answered, and the works end.

    Args:
        folder: the process's own; shows that it lives, and ends it when it is gone.
        works: run beside; each is for ever.
        first: awaited before the server listens, while the works run already.
        ending: called when the server is told to stop.
    Raises:
        SillError: a work's own error, which ends the process: who keeps it starts it again, from what is on disk.
    """
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process
    tasks = [asyncio.create_task(work) for work in (*works, beat(folder), until_gone(folder))]
    # Go on after uvicorn has ended by SIGTERM, which it raises again: rows are to be written, replicas to be ended.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    serving: asyncio.Task[None] | None = None
    try:
        if first is not None:
            await first()
        serving = asyncio.create_task(server.serve(sockets=sockets))
        done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        ending()
        with contextlib.suppress(asyncio.CancelledError):
            await (serving or asyncio.sleep(0))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_serving(work: Work) -> None:
    """Run until it ends well, on the fastest loop there is, and end the process: a thread that waits for news would not."""
    import uvloop

    gc.set_threshold(YOUNG_MAX)
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
        logging.shutdown()
        os._exit(0)


def raise_files_max() -> None:
    """Let this process, and those it starts, have as many files open as its listeners may take connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def beat(folder: Path) -> None:
    """Touch a file as long as the loop turns, for ever."""
    file = folder / BEAT_FILE
    while True:
        with contextlib.suppress(OSError):  # its folder is gone; `until_gone` says so
            file.touch(mode=0o600)
        await asyncio.sleep(BEAT_S)


async def until_gone(folder: Path) -> None:
    """Return when the folder is no more: a process that outlives its control plane must not outlive its data.

    Raises:
        Unavailable: always, once it is gone; it ends the process.
    """
    while (folder / LOCK_FILE).exists():  # noqa: ASYNC110 -- a file that goes sends no event
        await asyncio.sleep(HOME_LOOK_S)
    raise Unavailable(f"{folder} is gone.", fix="Start the platform on a home of its own.")


def hold_lock(folder: Path) -> TextIO:
    """Say that this process is alive, as long as the returned file is open; the file holds its process id.

    Raises:
        Conflict: another process serves from this folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = take_lock(folder / LOCK_FILE)
    if file is None:
        raise Conflict(f"another inference plane serves from {folder}.", fix="Stop it first.")
    return file


def start_logging(settings: Settings) -> None:
    """One redacted line a record, to standard error, which is the log file when the control plane started this."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(Redactor()))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
