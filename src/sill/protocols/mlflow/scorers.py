"""Messages about scorers."""

from typing import Annotated

import msgspec

from sill.protocols.mlflow.wire import Wire
from sill.runs.tracing.types import Scorer

Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class RegisterScorer(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    name: str | None = None
    serialized_scorer: str | None = None


class RegisteredScorer(Wire, frozen=True, kw_only=True):
    """Answer."""

    version: int
    scorer_id: str
    experiment_id: str
    name: str
    serialized_scorer: str
    creation_time: int


class ScorerOf(Wire, frozen=True, kw_only=True):
    """Request of list, versions, get and delete."""

    experiment_id: str | None = None
    name: str | None = None
    version: Version | None = None


class ScorerWire(Wire, frozen=True, kw_only=True):
    """A version of a scorer."""

    experiment_id: int
    scorer_name: str
    scorer_version: int
    serialized_scorer: str
    creation_time: int
    scorer_id: str


class ScorerAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    scorer: ScorerWire


class ScorersAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    scorers: tuple[ScorerWire, ...] = ()


def registered_out(scorer: Scorer) -> RegisteredScorer:
    """The version that was made, as a message."""
    return RegisteredScorer(
        version=scorer.version,
        scorer_id=scorer.scorer_id,
        experiment_id=scorer.experiment_id,
        name=scorer.name,
        serialized_scorer=scorer.serialized,
        creation_time=scorer.created_us // 1_000,
    )


def scorer_out(scorer: Scorer) -> ScorerWire:
    """A version as a message."""
    return ScorerWire(
        experiment_id=int(scorer.experiment_id),
        scorer_name=scorer.name,
        scorer_version=scorer.version,
        serialized_scorer=scorer.serialized,
        creation_time=scorer.created_us // 1_000,
        scorer_id=scorer.scorer_id,
    )
