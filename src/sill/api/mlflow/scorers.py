"""Scorers for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import scorers as messages

ROUTES = WireRoutes(tag="scorers")
_NAMED = ("experiment_id", "name")


@ROUTES.post(
    "/mlflow/scorers/register",
    version=3,
    scope="runs:write",
    body=messages.RegisterScorer,
    required=(*_NAMED, "serialized_scorer"),
)
async def register_scorer(call: Call) -> messages.RegisteredScorer:
    """Keep another version of a scorer."""
    body: messages.RegisterScorer = call.body
    made = await call.services.scorers.register(
        call.actor, call.project, body.experiment_id or "", body.name or "", body.serialized_scorer or ""
    )
    return messages.registered_out(made)


@ROUTES.get("/mlflow/scorers/list", version=3, scope="runs:read", body=messages.ScorerOf, required=("experiment_id",))
async def list_scorers(call: Call) -> messages.ScorersAnswer:
    """The newest version of each scorer of an experiment."""
    found = await call.services.scorers.newest(call.actor, call.project, call.body.experiment_id)
    return messages.ScorersAnswer(scorers=tuple(map(messages.scorer_out, found)))


@ROUTES.get("/mlflow/scorers/versions", version=3, scope="runs:read", body=messages.ScorerOf, required=_NAMED)
async def list_scorer_versions(call: Call) -> messages.ScorersAnswer:
    """All versions of a scorer."""
    body: messages.ScorerOf = call.body
    found = await call.services.scorers.versions(call.actor, call.project, body.experiment_id or "", body.name or "")
    return messages.ScorersAnswer(scorers=tuple(map(messages.scorer_out, found)))


@ROUTES.get("/mlflow/scorers/get", version=3, scope="runs:read", body=messages.ScorerOf, required=_NAMED)
async def get_scorer(call: Call) -> messages.ScorerAnswer:
    """One version of a scorer, the newest if none is named."""
    body: messages.ScorerOf = call.body
    found = await call.services.scorers.get(
        call.actor, call.project, body.experiment_id or "", body.name or "", body.version
    )
    return messages.ScorerAnswer(scorer=messages.scorer_out(found))


@ROUTES.delete("/mlflow/scorers/delete", version=3, scope="runs:write", body=messages.ScorerOf, required=_NAMED)
async def delete_scorer(call: Call) -> None:
    """Delete a version of a scorer, or all."""
    body: messages.ScorerOf = call.body
    await call.services.scorers.delete(
        call.actor, call.project, body.experiment_id or "", body.name or "", body.version
    )
