"""The replicas that engines run, as the control plane knows them: says each second how many are wanted, hears who is there.

The last list is kept on disk, so that a gateway that starts again while the control plane is away has its replicas.
"""

import asyncio
import logging
import os
from pathlib import Path

import msgspec

from sill.core.errors import SillError
from sill.gateway.fleet import Fleet
from sill.safety.peers import own_peer
from sill.traffic.control import Control
from sill.traffic.types import GatewayState, ReplicaList

PEER_FILE = "peer.pem"
LIST_FILE = "replicas.json"
ASK_S = 1.0

_log = logging.getLogger("sill.gateway")


class Elsewhere:
    """One gateway's view of them.

    Args:
        folder: the gateway's own.
        least: how many there are to be without load.

    Attributes:
        wanted: how many replicas the load needs.
        ready_s: what a new one takes to be there.
    """

    def __init__(self, fleet: Fleet, control: Control, folder: Path, least: int) -> None:
        self.wanted = least
        self.ready_s = 0.0
        self._is_renewing = False
        self._fleet = fleet
        self._control = control
        self._file = folder / LIST_FILE
        self._peer = own_peer(folder / PEER_FILE)
        self._known = ReplicaList(replicas=())

    def scale(self, count: int) -> None:
        """Want so many."""
        self.wanted = count

    async def renew(self) -> None:
        """Have each replaced by a new one."""
        self._is_renewing = True

    async def run(self) -> None:
        """Follow what the control plane says, for ever."""
        self._fleet.take(self._kept().replicas, self._peer)
        is_away = False
        while True:
            try:
                await self._ask()
                is_away = False
            except SillError as away:
                if not is_away:
                    _log.warning("the replicas stay as they are: %s", away)
                is_away = True
            await asyncio.sleep(ASK_S)

    async def _ask(self) -> None:
        is_renewing, self._is_renewing = self._is_renewing, False
        state = GatewayState(certificate=self._peer.certificate, wanted=self.wanted, is_renewing=is_renewing)
        try:
            found = await asyncio.to_thread(self._control.replicas, state)
        except SillError:
            self._is_renewing |= is_renewing
            raise
        self.ready_s = found.ready_s
        self._fleet.take(found.replicas, self._peer)
        if found.replicas and found.replicas != self._known.replicas:
            self._known = found
            await asyncio.to_thread(self._keep, found)

    def _kept(self) -> ReplicaList:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=ReplicaList)
        except (OSError, msgspec.DecodeError):
            return self._known  # there is none yet, or it was being written as the machine failed

    def _keep(self, found: ReplicaList) -> None:
        beside = self._file.with_suffix(".new")
        try:
            beside.write_bytes(msgspec.json.encode(found))
            os.replace(beside, self._file)
        except OSError as full:
            _log.warning("the list of replicas could not be kept: %s", full)
