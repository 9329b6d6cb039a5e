"""Assessments of traces for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import assessments as messages

ROUTES = WireRoutes(tag="assessments")
_ONE = "/mlflow/traces/{trace_id}/assessments/{assessment_id}"


@ROUTES.post(
    "/mlflow/traces/{trace_id}/assessments",
    version=3,
    scope="runs:write",
    body=messages.CreateAssessment,
    required=("assessment",),
)
async def create_assessment(call: Call) -> messages.AssessmentAnswer:
    """Keep what somebody says of a trace."""
    said = messages.assessment_in(call.body.assessment, call.path["trace_id"])
    kept = await call.services.assessments.log(call.actor, call.project, said)
    return messages.AssessmentAnswer(assessment=messages.assessment_out(kept))


@ROUTES.get(_ONE, version=3, scope="runs:read")
async def get_assessment(call: Call) -> messages.AssessmentAnswer:
    """One assessment."""
    found = await call.services.assessments.get(
        call.actor, call.project, call.path["trace_id"], call.path["assessment_id"]
    )
    return messages.AssessmentAnswer(assessment=messages.assessment_out(found))


@ROUTES.patch(
    _ONE, version=3, scope="runs:write", body=messages.UpdateAssessment, required=("assessment", "update_mask")
)
async def update_assessment(call: Call) -> messages.AssessmentAnswer:
    """Change the fields of an assessment that the mask names."""
    kept = await call.services.assessments.change(
        call.actor, call.project, call.path["trace_id"], call.path["assessment_id"], messages.change_in(call.body)
    )
    return messages.AssessmentAnswer(assessment=messages.assessment_out(kept))


@ROUTES.delete(_ONE, version=3, scope="runs:write")
async def delete_assessment(call: Call) -> None:
    """Delete an assessment."""
    await call.services.assessments.delete(call.actor, call.project, call.path["trace_id"], call.path["assessment_id"])
