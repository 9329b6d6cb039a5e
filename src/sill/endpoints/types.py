"""Endpoints, revisions, rollouts, and the plan the inference plane follows."""

from enum import StrEnum
from typing import Literal

from sill.core.values import Value
from sill.runtimes.types import Signature


class SLO(Value, frozen=True, kw_only=True):
    """What an endpoint promises. `availability` is the share of requests without a server error."""

    p99_ms: float = 100.0
    availability: float = 0.999
    window_s: int = 3600


class Rollout(Value, frozen=True, kw_only=True):
    """How a new revision takes over.

    Attributes:
        shadow_requests: requests it must answer unseen first; 0 for no shadow.
        steps: percent of traffic, rising; the last must be 100.
        step_requests: requests it must answer at each step before the judge decides.
        disagreement_max: share of shadow answers that may differ from the live revision's.
        error_rate_max: share of its answers that may be errors.
        latency_ratio_max: its p99 may be at most this times the live revision's (or the SLO, whichever is more).
        quality_drop_max: with labels: how much worse its accuracy may be.
        step_seconds_max: a step that gets too little traffic is decided after this long.
        split: `steps` goes through them all; `fixed` stays at the first one until it is ended by hand (an A/B test);
            `bandit` gives the revision that is right more often, by the labels, more of the traffic, until it is sure.
        share_min: percent of the traffic that a bandit leaves to either revision.
    """

    shadow_requests: int = 50
    steps: tuple[int, ...] = (1, 10, 50, 100)
    step_requests: int = 50
    disagreement_max: float = 0.3
    error_rate_max: float = 0.01
    latency_ratio_max: float = 2.0
    quality_drop_max: float = 0.05
    step_seconds_max: float = 3600.0
    split: Literal["steps", "fixed", "bandit"] = "steps"
    share_min: int = 5


class EndpointSpec(Value, frozen=True, kw_only=True):
    """A declared endpoint: which model answers under which promises. It follows the model: an accepted version rolls out."""

    project: str
    name: str
    model: str
    slo: SLO = SLO()
    rollout: Rollout = Rollout()
    log_sample: float = 1.0
    """Share of requests kept as lake rows."""
    log_payload: bool = True
    """Whether inputs and outputs are kept, or only ids, times and versions."""
    auto_rollout: bool = True
    paused: bool = False
    idle_s: float = 0.0
    """Seconds without a request after which its model leaves memory; 0 for never. The next request waits for it."""


class RevisionState(StrEnum):
    """pending → shadow → canary → live → retired, or rejected on the way."""

    PENDING = "pending"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"
    REJECTED = "rejected"


class Revision(Value, frozen=True, kw_only=True):
    """One model version behind an endpoint, and its part of the traffic in percent."""

    number: int
    model_version: int
    state: RevisionState
    weight: int = 0
    weight_max: int = 0
    """The largest part of the traffic it ever had, in percent."""
    reason: str = ""
    created_us: int = 0
    state_us: int = 0
    """When the present state or step began."""
    is_forced: bool = False
    """Deployed by hand although its gate said no."""


class Endpoint(Value, frozen=True, kw_only=True):
    """An endpoint: what was declared, and where it stands."""

    project: str
    name: str
    model: str
    spec: EndpointSpec
    revisions: tuple[Revision, ...] = ()
    created_us: int = 0
    revision: int = 0

    def live(self) -> Revision | None:
        """The revision that answers, if any."""
        return next((r for r in self.revisions if r.state is RevisionState.LIVE), None)

    def rolling(self) -> Revision | None:
        """The revision on its way in, if any."""
        coming = (RevisionState.PENDING, RevisionState.SHADOW, RevisionState.CANARY)
        return next((r for r in self.revisions if r.state in coming), None)

    def former(self) -> Revision | None:
        """The revision that was live before the present one, if any."""
        retired = [r for r in self.revisions if r.state is RevisionState.RETIRED]
        return max(retired, key=lambda r: (r.state_us, r.number), default=None)


class DeployRequest(Value, frozen=True, kw_only=True):
    """Roll a model version out by hand. `force` deploys one that its gate refused; the judge still watches it."""

    version: int
    force: bool = False


class PlanRevision(Value, frozen=True, kw_only=True):
    """A revision as the inference plane needs it: runtime, files by digest, weight, whether it only shadows."""

    number: int
    model_version: int
    files: dict[str, str]
    signature: Signature
    weight: int
    is_shadow: bool = False
    runtime: str = "onnx"


class PlanEndpoint(Value, frozen=True, kw_only=True):
    """An endpoint as the inference plane needs it."""

    project: str
    name: str
    revisions: tuple[PlanRevision, ...]
    log_sample: float
    log_payload: bool
    model: str = ""
    """The registered model whose versions these are: where the bundles' files are fetched from."""
    deadline_ms: float = 10_000.0
    idle_s: float = 0.0


class PlanToken(Value, frozen=True, kw_only=True):
    """A token that may infer: digest, projects, end (0: none)."""

    digest: str
    projects: tuple[str, ...]
    expires_us: int = 0
    may_admin: bool = False
    """Whether it may load and unload models by hand: it has the scope `endpoints:admin`."""

    def may_ask(self, project: str) -> bool:
        """Whether it is good for the endpoints of a project."""
        return project in self.projects or "*" in self.projects


class ServingPlan(Value, frozen=True, kw_only=True):
    """All the inference plane needs, so that it serves while the control plane is away. `revision` only rises."""

    revision: int
    endpoints: tuple[PlanEndpoint, ...]
    tokens: tuple[PlanToken, ...]
    public_key: str


class MoveRequest(Value, frozen=True, kw_only=True):
    """Move a revision by hand: a canary to a weight in percent, or on to another state."""

    number: int
    state: RevisionState
    weight: int = 0
    reason: str = "by hand"


class RollbackRequest(Value, frozen=True, kw_only=True):
    """Why the endpoint goes one step back."""

    reason: str = "by hand"


class PauseRequest(Value, frozen=True, kw_only=True):
    """True: answer no more. False: answer again."""

    paused: bool
