"""Who asks over gRPC, in which project and how, read from a call's metadata once and kept until the next plan."""

from sill.api.inference_grpc_known import KnownMessage
from sill.api.inference_heads import DEFAULT_PROJECT, check_sticky
from sill.api.recognition import FORMS_MAX
from sill.core.clock import Clock
from sill.core.errors import InvalidValue
from sill.core.names import check_name
from sill.endpoints.types import PlanToken
from sill.protocols.grpc.heads import Head
from sill.protocols.oip.paths import Target, read_path
from sill.safety.tokens import bearer
from sill.traffic.admission import priority_of
from sill.traffic.plane import Plane

TARGETS_MAX = 64
ACCESSES_MAX = 4_096
METADATA = (b"authorization", b"x-sill-project", b"x-sill-sticky-key", b"x-sill-priority")
"""What a head says of who asks and how; its time limit may be another with each call."""


class Access:
    """One head: who asks, and the forms of message that came with it."""

    def __init__(self, head: Head, token: PlanToken, generation: int) -> None:
        self.generation = generation
        self.token = token
        self.project = check_name(head.text(b"x-sill-project") or DEFAULT_PROJECT, "project")
        self.sticky_key = check_sticky(head.text(b"x-sill-sticky-key"))
        self.priority = priority_of(head.text(b"x-sill-priority"))
        self.known: list[KnownMessage] = []
        self._targets: dict[tuple[str, str], Target] = {}

    def learn(self, known: KnownMessage) -> None:
        """Remember a form of message, after one of it was found good. The first is forgotten first."""
        if len(self.known) >= FORMS_MAX:
            self.known.pop(0)
        self.known.append(known)

    def target(self, name: str, version: str) -> Target:
        """The model behind `NAME` or `PROJECT/NAME`, and a version.

        Raises:
            InvalidValue, NotFound: a name or version that cannot be one.
        """
        target = self._targets.get((name, version))
        if target is None:
            path = f"/v2/models/{name}/versions/{version}/infer" if version else f"/v2/models/{name}/infer"
            found = read_path("POST", path)
            if found.verb != "infer":
                raise InvalidValue(f"model name {name[:100]!r} is not allowed.", field="model_name")
            target = Target(verb="infer", project=found.project or self.project, name=found.name, version=found.version)
            if len(self._targets) >= TARGETS_MAX:
                self._targets.clear()
            self._targets[name, version] = target
        return target


class Accesses:
    """Finds the access of a head; what was found holds for one plan, and an end of the token's time is looked at.

    Heads that say the same share it, on whichever connection they come: so their messages are answered together.
    """

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        self._clock = clock
        self._shared: dict[tuple[str, ...], Access] = {}

    def of(self, head: Head) -> Access:
        """Who asks.

        Raises:
            Unauthenticated: nobody who may infer.
            InvalidValue: metadata that cannot be right.
        """
        access: Access | None = head.memo
        if access is None or not self._holds(access):
            access = head.memo = self._find(head)
            head.tenant = access.token.digest
        return access

    def _holds(self, access: Access) -> bool:
        expires_us = access.token.expires_us
        is_over = expires_us and expires_us <= self._clock.now_us()
        return access.generation == self._plane.generation and not is_over

    def _find(self, head: Head) -> Access:
        said = tuple(head.text(name) for name in METADATA)
        shared = self._shared.get(said)
        if shared is not None and self._holds(shared):
            return shared
        token = self._plane.authenticate(bearer(head.text(b"authorization")))
        access = Access(head, token, self._plane.generation)
        if len(self._shared) >= ACCESSES_MAX:
            self._shared.clear()
        self._shared[said] = access
        return access
