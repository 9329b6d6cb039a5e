"""Replicas that engines run: who is there, by what they say of themselves, and how many a gateway wants.

Kept in memory only: replicas and gateways speak every second or two, so that a control plane that starts again knows in
two seconds what it knew; until then gateways keep the replicas they have.
"""

import ipaddress
from typing import NamedTuple

from sill.core.actors import Actor
from sill.core.clock import Clock
from sill.core.errors import Forbidden, InvalidValue
from sill.core.names import shorten
from sill.core.settings import PROCESSES_MAX
from sill.governance.rules import require
from sill.safety.peers import check_certificate
from sill.traffic.types import Gateways, GatewayState, ReplicaList, ReplicaState

SILENT_S = 10.0
"""A replica or a gateway that has said nothing for so long is forgotten."""
GATEWAYS_MAX = 16


class _Heard(NamedTuple):
    at_s: float
    state: ReplicaState


class Replicas:
    """The registry. `replica_runs` starts and ends what it says.

    Attributes:
        renewed_us: replicas that were asked for before are to be replaced.
        ready_s: what the newest took from being asked for to being there.
    """

    def __init__(self, clock: Clock) -> None:
        self.renewed_us = 0
        self.ready_s = 0.0
        self._clock = clock
        self._replicas: dict[str, _Heard] = {}
        self._gateways: dict[str, tuple[float, int]] = {}
        """Certificate → when it was heard, and how many it wants."""

    @property
    def wanted(self) -> int:
        """How many replicas the load needs, by the gateway that needs most; 0 while none says so."""
        return max((count for _, count in self._gateways.values()), default=0)

    @property
    def present(self) -> dict[str, ReplicaState]:
        """Those that are there and stay, by run."""
        self._forget()
        heard = (each.state for each in self._replicas.values())
        return {_run(state.name): state for state in heard if not state.is_leaving}

    def announce(self, actor: Actor, state: ReplicaState) -> Gateways:
        """Hear a replica.

        Raises:
            Forbidden: the actor is not that run.
            InvalidValue: no address, port or certificate.
        """
        require(actor, "serving:write")
        if not actor.run_id or actor.run_id != _run(state.name):
            raise Forbidden(f"{actor.id} is not replica {shorten(state.name)!r}.", fix="A replica speaks for itself.")
        _check_place(state)
        self._forget()
        if state.name in self._replicas or len(self._replicas) < 2 * PROCESSES_MAX:
            self._replicas[state.name] = _Heard(self._clock.monotonic_s(), state)
        return Gateways(certificates=tuple(self._gateways))

    def follow(self, actor: Actor, state: GatewayState) -> ReplicaList:
        """Hear a gateway, and tell it the replicas.

        Raises:
            Forbidden: the actor is a run.
            InvalidValue: a number no gateway may want, no certificate, or too many gateways.
        """
        require(actor, "serving:write")
        if actor.run_id:
            raise Forbidden("a run is no gateway.", fix="The control plane starts the gateway.")
        if not 0 <= state.wanted <= PROCESSES_MAX:
            raise InvalidValue(f"{state.wanted} replicas; 0 to {PROCESSES_MAX} may be.", field="wanted")
        check_certificate(state.certificate)
        self._forget()
        if state.certificate not in self._gateways and len(self._gateways) >= GATEWAYS_MAX:
            raise InvalidValue(f"there are {GATEWAYS_MAX} gateways already.", field="certificate")
        self._gateways[state.certificate] = (self._clock.monotonic_s(), state.wanted)
        if state.is_renewing:
            self.renewed_us = self._clock.now_us()
        return ReplicaList(replicas=tuple(each.state for each in self._replicas.values()), ready_s=self.ready_s)

    def _forget(self) -> None:
        since_s = self._clock.monotonic_s() - SILENT_S
        self._replicas = {name: each for name, each in self._replicas.items() if each.at_s > since_s}
        self._gateways = {name: each for name, each in self._gateways.items() if each[0] > since_s}


def _run(name: str) -> str:
    return name.partition(".")[0]


def _check_place(state: ReplicaState) -> None:
    try:
        ipaddress.ip_address(state.host)
    except ValueError as wrong:
        raise InvalidValue(f"host {shorten(state.host)!r} is no IP address.", field="host") from wrong
    for field, port in (("port", state.port), ("grpc_port", state.grpc_port)):
        if not 1 <= port <= 65_535:
            raise InvalidValue(f"{field} {port} is outside 1 to 65,535.", field=field)
    check_certificate(state.certificate)
