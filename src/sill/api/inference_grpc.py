"""The inference plane's gRPC door: the Open Inference Protocol and Triton's streaming, with the HTTP door's rules.

Who asks is told by the metadata `authorization: Bearer TOKEN`; `x-sill-project`, `x-sill-sticky-key`,
`x-sill-priority` and `grpc-timeout` mean what their likes mean over HTTP.
"""

import socket
import ssl

import msgspec

from sill.api.hosts import allowed_hosts
from sill.api.inference_grpc_access import Accesses
from sill.api.inference_grpc_describing import SERVICE, Described, Told
from sill.api.inference_grpc_infer import Infer
from sill.api.inference_grpc_stream import StreamInfer
from sill.api.long_reading import Readers
from sill.core.clock import SystemClock
from sill.core.settings import Settings
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.port import Method
from sill.protocols.grpc.server import GrpcServer, tls_context
from sill.protocols.grpc.status import CallError, Status
from sill.safety.limits import InFlight, MemoryBudget
from sill.traffic.plane import Plane

NOT_OFFERED = (
    *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
    *("TraceSetting", "LogSettings"),
)

RELAYED_S_MAX = 120.0
"""Behind a gateway a connection is told to go after so long: the client comes again, and gets whoever has fewest then."""


class Door:
    """A `grpc.port.Service`."""

    def __init__(self, plane: Plane, in_flight: InFlight, hosts: frozenset[str], readers: Readers) -> None:
        self._hosts = hosts
        infer = Infer(plane, in_flight, Accesses(plane, SystemClock()), readers)
        self._methods: dict[str, Method] = {
            SERVICE + "ModelInfer": infer,
            SERVICE + "ModelStreamInfer": StreamInfer(infer),
        }
        told = Told(plane, infer.accesses)
        for name, answer in told.answers().items():
            self._methods[name] = Described(answer)

    def find(self, path: str) -> Method:
        """See `grpc.port.Service`."""
        method = self._methods.get(path)
        if method is None:
            name = path.removeprefix(SERVICE)
            why = "is not offered" if name in NOT_OFFERED else "is not known"
            raise CallError(Status.UNIMPLEMENTED, f"the method {path[:200]} {why}.")
        return method

    def check(self, head: Head) -> None:
        """Names this server does not answer to are refused, as over HTTP: a page must not reach it by a name of its own."""
        host = head.authority.rsplit(":", 1)[0] if not head.authority.endswith("]") else head.authority
        if host.lower() not in self._hosts:
            raise CallError(
                Status.PERMISSION_DENIED,
                "forbidden: this server is not known by that name. Use its own, or set public_url.",
            )


async def serve_grpc(
    plane: Plane,
    settings: Settings,
    in_flight: InFlight,
    *,
    readers: Readers,
    memory: MemoryBudget | None = None,
    sock: socket.socket | None = None,
    tls: ssl.SSLContext | None = None,
    is_public: bool = True,
    limits: GrpcLimits | None = None,
) -> GrpcServer:
    """Answer gRPC from now on: on the third port, or on the socket that is given.

    Args:
        in_flight, readers, memory: the HTTP door's, so that one limit holds for both.
        tls: what the callers must show; None for the certificate of the settings.
        is_public: false behind a gateway, which has the certificate.
    """
    chosen = limits or GrpcLimits(message_bytes_max=settings.body_bytes_max)
    if limits is None and not is_public:  # all connections are the gateway's
        chosen = msgspec.structs.replace(
            chosen, age_seconds_max=RELAYED_S_MAX, idle_per_address_max=chosen.connections_max
        )
    server = GrpcServer(Door(plane, in_flight, allowed_hosts(settings), readers), chosen, memory)
    tls = tls_context(settings.tls_cert, settings.tls_key) if is_public else tls
    await server.listen(settings.host, settings.grpc_port, sock=sock, tls=tls)
    return server
