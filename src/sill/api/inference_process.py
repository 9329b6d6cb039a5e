"""Keeps the inference plane alive: starts its processes, adopts those that are there, starts them again when they die.

They are detached from the control plane, so that they go on serving while it restarts. Either some whole inference
processes share the public port, or one gateway listens there and keeps its replicas itself.
"""

import asyncio
import logging
import signal
import time

from sill.api.child_process import Child, tell
from sill.api.heartbeat import LOOK_S, Watch
from sill.core.settings import Settings
from sill.safety.private_files import write_private

RESTART_PAUSE_S = 0.5
RESTART_PAUSE_S_MAX = 10.0
INFERENCE, GATEWAY = "sill.api.inference", "sill.gateway"

logger = logging.getLogger("sill.inference")


class InferenceProcess:
    """The inference plane, seen from the control plane. A worker: `run` keeps it alive for ever."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._settings = settings
        self._token = token
        self._is_over = False
        self.folder = settings.home / "inference"
        self.children = self._make_children()

    async def run(self) -> None:
        """Start what is not there, for ever."""
        self._end_others()
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(self._keep(child))

    def start(self) -> None:
        """Start all of it that is not alive."""
        self._write_token()
        for child in self.children:
            child.start()

    def is_alive(self) -> bool:
        """True while some process of it is alive."""
        return any(child.is_alive() for child in self.children)

    def stop(self) -> None:
        """End it, for good: the control plane was told to stop, not just restarted."""
        self._is_over = True
        for child in self.children:
            child.tell(signal.SIGTERM)
        for child in self.children:
            child.stop()

    async def _keep(self, child: Child) -> None:
        pause_s, watch = RESTART_PAUSE_S, Watch(child.folder)
        while not self._is_over:
            if child.is_alive():
                pause_s = RESTART_PAUSE_S
                if watch.is_silent(time.monotonic()):
                    logger.warning("%s shows no sign of life and is ended", child.folder.name)
                    await asyncio.to_thread(child.kill)
                await asyncio.sleep(LOOK_S)
                continue
            if child.ended_with() is not None:
                logger.warning("%s ended with code %s; it starts again", child.folder.name, child.ended_with())
            self._write_token()
            child.start()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_PAUSE_S_MAX)

    def _make_children(self) -> list[Child]:
        settings = self._settings
        logs = settings.home / "logs"
        variables = {
            "SILL_HOME": str(settings.home),
            "SILL_PORT": str(settings.port),
            "SILL_TOKEN_FILE": str(self.folder / "token"),
            "SILL_URL": settings.url,
        }
        if settings.has_gateway:
            folder = settings.home / "gateway"
            return [Child(folder, GATEWAY, log_file=logs / "gateway.log", variables=variables)]
        listen = () if settings.processes == 1 else ("--listen", "shared")
        return [
            Child(
                self.folder / name if name else self.folder,
                INFERENCE,
                *(("--name", name) if name else ()),
                *listen,
                log_file=logs / "inference.log",
                variables=variables,
            )
            for name in process_names(settings.processes)
        ]

    def _end_others(self) -> None:
        """End what an earlier control plane kept by other settings, so that the port is free."""
        own = {child.folder for child in self.children}
        left = [self._settings.home / "gateway"]
        if not self._settings.has_gateway:  # the gateway sees to its replicas itself
            left += [self.folder, *self.folder.glob("replica-*")]
        for folder in left:
            if folder not in own:
                tell(folder, signal.SIGTERM)

    def _write_token(self) -> None:
        """Write the file the processes read their token from; again only if the token has changed."""
        file = self.folder / "token"
        if not file.exists() or file.read_text() != self._token:
            file.unlink(missing_ok=True)
            write_private(file, self._token.encode())


def process_names(count: int) -> list[str]:
    """Names of so many inference processes' folders below `inference`; the first has none of its own."""
    return ["", *(f"replica-{number}" for number in range(2, count + 1))]
