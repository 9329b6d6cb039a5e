"""Routes of trainings, and of the blobs that a training's results are uploaded as."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.governance.rules import require
from sill.runs.training.types import TrainingSpec
from sill.runs.types import Run

ROUTES = Routes(tag="trainings")


class StartTraining(Value, frozen=True, kw_only=True):
    """Start a training; `reason` is kept with the run."""

    reason: str = ""


class StoredBlob(Value, frozen=True, kw_only=True):
    """Bytes that were stored, by their SHA-256 digest."""

    digest: str
    size_bytes: int


@ROUTES.get("/projects/{project}/trainings", scope="runs:read", returns=tuple[TrainingSpec, ...])
async def list_trainings(call: Call) -> tuple[TrainingSpec, ...]:
    """All declared trainings of a project."""
    return await call.services.trainings.trainings(call.actor, call.project)


@ROUTES.get("/projects/{project}/trainings/{name}", scope="runs:read", returns=TrainingSpec)
async def get_training(call: Call) -> TrainingSpec:
    """One declared training."""
    return await call.services.trainings.training(call.actor, call.project, call.path["name"])


@ROUTES.put("/projects/{project}/trainings/{name}", scope="runs:write", body=TrainingSpec, returns=TrainingSpec)
async def declare_training(call: Call) -> TrainingSpec:
    """Declare a training, new or changed."""
    return await call.services.trainings.declare(call.actor, call.named(call.body))


@ROUTES.post(
    "/projects/{project}/trainings/{name}/start", scope="runs:write", body=StartTraining, returns=Run, status=201
)
async def start_training(call: Call) -> Run:
    """Start a run that fits, exports, evaluates and registers the model."""
    name = call.path["name"]
    return await call.services.trainings.start(call.actor, call.project, name, call.body.reason, key=call.key)


@ROUTES.post("/projects/{project}/blobs", scope="models:write", returns=StoredBlob, status=201, is_raw=True)
async def store_blob(call: Call) -> StoredBlob:
    """Store the request's body as a blob, to be named by its digest in a model version."""
    require(call.actor, "models:write", call.project)
    size_max = call.services.settings.upload_bytes_max
    digest, size = await call.services.blobs.put_stream(call.request.stream(), size_max)
    return StoredBlob(digest=digest, size_bytes=size)
