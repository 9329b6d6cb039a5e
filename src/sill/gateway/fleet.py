"""Keeps the replicas alive, asks them whether they live, and replaces them one by one for an upgrade."""

import asyncio
import logging
import os
from collections.abc import Sequence
from functools import partial

from sill.api.child_process import Child
from sill.api.inference_process import INFERENCE, RESTART_PAUSE_S, RESTART_PAUSE_S_MAX
from sill.api.inference_sockets import GRPC_SOCKET_FILE, SOCKET_FILE, socket_path
from sill.core.errors import Unavailable
from sill.core.settings import PROCESSES_MAX, Settings, replica_bounds, replica_names
from sill.gateway.address import Address, split_address
from sill.gateway.grpc_relay import Place
from sill.gateway.health import LAST_SILENT_S, SILENT_S, UNREADY_S, UNREADY_S_MAX, slow_one
from sill.gateway.router import Router
from sill.gateway.upstream import Connection, Replica
from sill.safety.peers import Peer, calling
from sill.traffic.inheriting import inherit
from sill.traffic.types import ReplicaState

PROBE_S = 0.25
READ_S = 0.02
STUCK_S = 10.0
"""A replica that has answered no probe for so long is killed, and started again."""
READY_S = 60.0
DRAIN_S = 30.0
STOP_S = 10.0

_log = logging.getLogger("sill.gateway")


class Probe:
    """One question whether a replica lives; see `upstream.Asking`."""

    content = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n"
    has_no_body = False

    def __init__(self) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def sent(self, connection: Connection) -> None:
        """It is on its way."""

    def answered(self, connection: Connection, status: int, content: bytes) -> None:
        """It lives."""
        if not self.status.done():
            self.status.set_result(status)

    def broken(self, connection: Connection, why: str, is_stale: bool) -> None:
        """It does not."""
        if not self.status.done():
            self.status.set_result(0)


class Slot:
    """A replica, where it answers gRPC, and its process if it is one of this machine that we keep."""

    def __init__(self, replica: Replica, grpc: Address, child: Child | None = None) -> None:
        self.replica = replica
        self.grpc = grpc
        self.child = child
        self.task: asyncio.Task[None] | None = None
        self.is_ready = False
        """By its last probe: it answers every endpoint of its plan."""


class Fleet:
    """All replicas of a gateway.

    Args:
        router: told which replicas there are, and which of them may serve.
    """

    def __init__(self, settings: Settings, router: Router) -> None:
        self._settings = settings
        self._router = router
        self._slots: list[Slot] = []
        self._rolling = asyncio.Lock()
        self._removing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep all of them, for ever."""
        for name in await asyncio.to_thread(self._first_names):
            self._add(name)
        while True:
            await asyncio.sleep(1.0)
            self._look_for_slow()
            for slot in self._slots:
                slot.replica.close_idle()

    def scale(self, count: int) -> None:
        """Have so many of this machine: more start now, of too many the youngest one ends when nobody waits for it."""
        own = [slot for slot in self._slots if slot.child is not None and not slot.replica.is_draining]
        if not self._slots or self._rolling.locked():
            return  # it starts, or it is being replaced: next time
        if len(own) > count:
            _log.info("%s ends: %d replicas are enough", own[-1].replica.name, count)
            self._let_go(own[-1])
        for _ in range(count - len(own)):
            slot = self._add(self._free_name(), like=own[0] if own else None)
            _log.info("%s starts: %d replicas are needed", slot.replica.name, count)

    def take(self, known: Sequence[ReplicaState], own: Peer) -> None:
        """Have those that engines run, as far as they were announced. One that is about to end gets nothing more; one that
        is not known any more is kept as long as it answers: the control plane may have started again just now.

        Args:
            own: who this gateway is to them.
        """
        states = {state.name: state for state in known}
        for slot in self._slots:
            state = states.pop(slot.replica.name, None)
            if slot.replica.is_draining:
                continue
            if state.is_leaving if state is not None else not slot.replica.may_serve:
                _log.info("%s ends", slot.replica.name)
                self._let_go(slot)
        for name, state in states.items():
            if not state.is_leaving:
                http = Address(state.host, state.port, tls=calling(own, state.certificate, "http/1.1"))
                grpc = Address(state.host, state.grpc_port, tls=calling(own, state.certificate, "h2"))
                self._enter(Slot(Replica(name, http), grpc))
                _log.info("%s is at %s, port %d", name, state.host, state.port)

    async def roll(self) -> None:
        """Replace every replica by a new process: the new one first, then the old one, when nobody waits for it.

        Raises:
            Unavailable: a new one was not ready in time; the old ones go on.
        """
        async with self._rolling:
            for old in [slot for slot in self._slots if slot.child is not None and not slot.replica.is_draining]:
                name = self._free_name()
                new = self._add(name, like=old)
                try:
                    async with asyncio.timeout(READY_S):
                        while not new.replica.may_serve:  # noqa: ASYNC110 -- its next probe is awaited
                            await asyncio.sleep(PROBE_S)
                except TimeoutError:
                    await self._remove(new)
                    raise Unavailable(f"{name} was not ready within {READY_S:g} s; the old ones go on.") from None
                await self._remove(old)
                _log.info("%s took over from %s", name, old.replica.name)

    async def stop(self) -> None:
        """End all processes."""
        for slot in self._slots:
            if slot.task is not None:
                slot.task.cancel()
        await asyncio.gather(*(asyncio.to_thread(slot.child.stop, STOP_S) for slot in self._slots if slot.child))

    def grpc_places(self) -> list[Place]:
        """The replicas that may serve, and where each answers gRPC: beside its HTTP."""
        return [(slot.replica, slot.grpc) for slot in self._slots if slot.replica.may_serve]

    def _free_name(self) -> str:
        taken = {slot.replica.name for slot in self._slots}
        return next(name for number in range(1, 3 * PROCESSES_MAX) if (name := f"replica-{number}") not in taken)

    def _first_names(self) -> list[str]:
        """Those to begin with; ends what an earlier gateway has left alive beyond the most there may be."""
        folders = sorted((self._settings.home / "inference").glob("replica-*"))
        alive = [folder.name for folder in folders if self._child(folder.name).is_alive()]
        names = first_names(self._settings.replicas, alive)
        if replica_bounds(self._settings.replicas) is not None:
            for name in set(alive) - set(names):
                self._child(name).stop(STOP_S)
        return names

    def _add(self, name: str, like: Slot | None = None) -> Slot:
        """One more.

        Args:
            like: a replica of this machine whose plan and bundles it begins with.
        """
        if ":" in name:
            host, port = split_address(name)
            slot = Slot(Replica(name, Address(host, port)), Address(host, port + 1))
        else:
            child = self._child(name)
            http, grpc = (
                Address(path=partial(socket_path, child.folder, file)) for file in (SOCKET_FILE, GRPC_SOCKET_FILE)
            )
            slot = Slot(Replica(name, http), grpc, child)
        return self._enter(slot, like)

    def _enter(self, slot: Slot, like: Slot | None = None) -> Slot:
        self._slots.append(slot)
        self._router.replicas.append(slot.replica)
        slot.task = asyncio.create_task(self._begin(slot, like))
        return slot

    def _let_go(self, slot: Slot) -> None:
        slot.replica.is_draining = True
        task = asyncio.create_task(self._remove(slot))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _begin(self, slot: Slot, like: Slot | None) -> None:
        if slot.child is not None and like is not None and like.child is not None:
            await asyncio.to_thread(_hand_over, slot.child, like.child)
        await self._keep(slot)

    async def _remove(self, slot: Slot) -> None:
        """Let a replica end what it has, then end it."""
        slot.replica.is_draining = True
        until_s = asyncio.get_running_loop().time() + DRAIN_S
        while slot.replica.outstanding and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if slot.task is not None:
            slot.task.cancel()
        self._router.replicas.remove(slot.replica)
        self._slots.remove(slot)
        if slot.child is not None:
            await asyncio.to_thread(slot.child.stop, STOP_S)
        slot.replica.forsake()

    async def _keep(self, slot: Slot) -> None:
        """Probe it, for ever; start it when it is not there, kill it when it is stuck."""
        loop = asyncio.get_running_loop()
        pause_s, next_start_s, heard_s = RESTART_PAUSE_S, 0.0, loop.time()
        replica, child = slot.replica, slot.child
        while True:
            if child is not None and not child.is_running() and loop.time() >= next_start_s:
                self._router.eject(replica, "its process has ended", is_lost=True)
                _start(child)
                heard_s, next_start_s = loop.time(), loop.time() + pause_s
                pause_s = min(2 * pause_s, RESTART_PAUSE_S_MAX)
            begun_s = loop.time()
            status = await self._probe(replica)
            if status:
                heard_s = loop.time()
                pause_s = RESTART_PAUSE_S if replica.may_serve else pause_s
                slot.is_ready = status == 200
                replica.health.probe_answered(loop.time(), slot.is_ready, self._patience_s(slot))
                if replica.may_serve:
                    self._router.changed()
            elif child is not None and loop.time() - heard_s > max(STUCK_S, READY_S * (not child.is_alive())):
                _log.warning("%s does not answer for %.0f s and is killed", replica.name, loop.time() - heard_s)
                await asyncio.to_thread(child.kill)
                heard_s = loop.time()
            await asyncio.sleep(max(0.0, PROBE_S - (loop.time() - begun_s)))

    async def _probe(self, replica: Replica) -> int:
        """The status of its health path; 0 if there is none in time, and then it gets no more requests.

        The last one that serves is given more time: nobody could take over, and what waits for it may be answered yet.
        """
        probe = Probe()
        replica.ask(probe)
        status = await _heard(probe, SILENT_S)
        if status is None and not any(one.may_serve for one in self._router.replicas if one is not replica):
            status = await _heard(probe, LAST_SILENT_S - SILENT_S)
        if status is None:
            self._lose(replica, "silent for too long")
        elif not status:
            self._lose(replica, "it cannot be reached")
        return status or 0

    def _patience_s(self, slot: Slot) -> float:
        """How long a replica may be missing an endpoint before it gets requests all the same."""
        others = [one for one in self._slots if one is not slot and one.replica.may_serve]
        return UNREADY_S_MAX if any(one.is_ready for one in others) else UNREADY_S

    def _lose(self, replica: Replica, why: str) -> None:
        if replica.health.is_admitted:
            _log.warning("%s gets no requests: %s", replica.name, why)
        self._router.eject(replica, why, is_lost=True)

    def _look_for_slow(self) -> None:
        """Eject one that is far slower than the others, if more than half are left then."""
        serving = {one.name: one for one in self._router.replicas if one.may_serve}
        slow = slow_one({name: one.latency_s for name, one in serving.items()})
        if slow is not None and 2 * (len(serving) - 1) > len(self._router.replicas):
            _log.warning("%s gets no requests for a while: %.3f s an answer", slow, serving[slow].latency_s)
            self._router.eject(serving[slow], "much slower than the others", is_lost=False)
            serving[slow].latency_s = 0.0

    def _child(self, name: str) -> Child:
        settings = self._settings
        variables = {"SILL_HOME": str(settings.home), "SILL_PORT": str(settings.port)}
        given = ("SILL_TOKEN_FILE", "SILL_URL")
        return Child(
            settings.home / "inference" / name,
            INFERENCE,
            *("--name", name, "--listen", "socket"),
            log_file=settings.home / "logs" / "inference.log",
            variables={**variables, **{name: os.environ[name] for name in given if name in os.environ}},
        )


def _start(child: Child) -> None:
    """Start it; where that fails, it is tried again later, as if it had ended at once."""
    try:
        child.start()
    except OSError as failed:
        _log.error("%s cannot be started: %s", child.folder.name, failed)


def _hand_over(child: Child, like: Child) -> None:
    """What one keeps on disk, for a child that does not run. Without it, that one asks the control plane."""
    try:
        if not child.is_running():
            inherit(child.folder, like.folder)
    except OSError as full:
        _log.warning("%s begins without what %s keeps: %s", child.folder.name, like.folder.name, full)


async def _heard(probe: Probe, seconds: float) -> int | None:
    """The probe's status; None if there was none in time."""
    await asyncio.wait([probe.status], timeout=seconds)
    if not probe.status.done():
        await asyncio.sleep(READ_S)  # what came while this process itself stood still is read first
    return probe.status.result() if probe.status.done() else None


def first_names(given: str, alive: Sequence[str]) -> list[str]:
    """The replicas a gateway begins with: of this machine those that live already come first.

    Args:
        given: the setting.
        alive: names of those that an earlier gateway has left.
    """
    names, bounds = replica_names(given), replica_bounds(given)
    if bounds is None:
        return names
    kept = list(alive[: bounds[1]])
    return kept + [name for name in names if name not in kept][: max(bounds[0] - len(kept), 0)]
