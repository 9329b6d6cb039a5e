"""Who asks over gRPC, in which project and how, read from a call's metadata once and kept until the next plan."""

from sill.core.clock import Clock
from sill.core.errors import InvalidValue
from sill.core.names import check_name
from sill.endpoints.types import PlanToken
from sill.protocols.grpc.heads import Head
from sill.protocols.oip.grpc_forms import GrpcAnswerForm, GrpcForm
from sill.protocols.oip.paths import Target, read_path
from sill.traffic.admission import priority_of
from sill.traffic.plane import Plane

DEFAULT_PROJECT = "default"
STICKY_LENGTH_MAX = 200
FORMS_MAX = 8
"""Forms of message remembered for one head."""
TARGETS_MAX = 64


class Access:
    """One head: who asks, and the forms of message that came with it."""

    def __init__(self, head: Head, token: PlanToken, generation: int) -> None:
        self.generation = generation
        self.token = token
        self.project = check_name(head.text(b"x-sill-project") or DEFAULT_PROJECT, "project")
        self.sticky_key = head.text(b"x-sill-sticky-key")
        self.timeout_ms = head.timeout_s * 1e3
        self.priority = priority_of(head.text(b"x-sill-priority"))
        self.forms: list[GrpcForm] = []
        self.answers: dict[tuple[int, GrpcForm], GrpcAnswerForm] = {}
        self._targets: dict[tuple[str, str], Target] = {}
        if len(self.sticky_key) > STICKY_LENGTH_MAX:
            raise InvalidValue(
                f"x-sill-sticky-key has at most {STICKY_LENGTH_MAX} characters.", field="x-sill-sticky-key"
            )

    def learn(self, form: GrpcForm) -> None:
        """Remember a form of message, after one of it was found good. The first is forgotten first."""
        if len(self.forms) >= FORMS_MAX:
            gone = self.forms.pop(0)
            self.answers = {key: answer for key, answer in self.answers.items() if key[1] is not gone}
        self.forms.append(form)

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
    """Finds the access of a head; what was found holds for one plan, and an end of the token's time is looked at."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        self._clock = clock

    def of(self, head: Head) -> Access:
        """Who asks.

        Raises:
            Unauthenticated: nobody who may infer.
            InvalidValue: metadata that cannot be right.
        """
        access: Access | None = head.memo
        if access is not None and access.generation == self._plane.generation:
            expires_us = access.token.expires_us
            if not expires_us or expires_us > self._clock.now_us():
                return access
        scheme, _, secret = head.text(b"authorization").partition(" ")
        token = self._plane.authenticate(secret.strip() if scheme.lower() == "bearer" else "")
        access = head.memo = Access(head, token, self._plane.generation)
        return access
