"""The serving plan, made from the documents alone: the same documents always make the same plan."""

from sill.core.actors import Actor
from sill.endpoints.store import ENDPOINTS
from sill.endpoints.types import Endpoint, PlanEndpoint, PlanRevision, PlanToken, Revision, RevisionState
from sill.governance.types import Token
from sill.models.service import Models
from sill.models.types import MANIFEST_FILE
from sill.stores.database import Connection

SERVING = (RevisionState.SHADOW, RevisionState.CANARY, RevisionState.LIVE)


def plan_endpoints(connection: Connection, models: Models) -> tuple[PlanEndpoint, ...]:
    """Every endpoint that is to answer, in the order of project and name. Paused ones are not among them."""
    found = [endpoint for endpoint in ENDPOINTS.every(connection) if not endpoint.spec.paused]
    return tuple(_endpoint(connection, models, endpoint) for endpoint in found if endpoint.live() is not None)


def plan_tokens(tokens: tuple[Token, ...]) -> tuple[PlanToken, ...]:
    """What the inference plane needs of the tokens that may infer, in the order of their digests."""
    return tuple(sorted(map(_token, tokens), key=lambda token: token.digest))


def _token(token: Token) -> PlanToken:
    return PlanToken(
        digest=token.digest,
        projects=token.projects,
        expires_us=token.expires_us,
        may_admin=Actor(id=token.id, scopes=frozenset(token.scopes)).has("endpoints:admin"),
    )


def _endpoint(connection: Connection, models: Models, endpoint: Endpoint) -> PlanEndpoint:
    serving = [revision for revision in endpoint.revisions if revision.state in SERVING]
    return PlanEndpoint(
        project=endpoint.project,
        name=endpoint.name,
        model=endpoint.model,
        revisions=tuple(_revision(connection, models, endpoint, revision) for revision in serving),
        log_sample=endpoint.spec.log_sample,
        log_payload=endpoint.spec.log_payload,
        idle_s=endpoint.spec.idle_s,
    )


def _revision(connection: Connection, models: Models, endpoint: Endpoint, revision: Revision) -> PlanRevision:
    version = models.version_in(connection, endpoint.project, endpoint.model, revision.model_version)
    return PlanRevision(
        number=revision.number,
        model_version=revision.model_version,
        files=version.spec.files | {MANIFEST_FILE: version.manifest},
        signature=version.spec.signature,
        weight=revision.weight,
        is_shadow=revision.state is RevisionState.SHADOW,
        runtime=version.spec.runtime,
    )
