"""Routes of registered models, their versions, aliases and files."""

from starlette.responses import Response

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.values import Value
from sill.models.types import (
    AliasChange,
    Approval,
    BundleFiles,
    Freed,
    Inspected,
    ModelCard,
    ModelVersion,
    RegisteredModel,
    VersionSpec,
)
from sill.stores.database import Page

ROUTES = Routes(tag="models")

VERSION_DIGITS_MAX = 15


class ModelsQuery(Value, frozen=True, kw_only=True):
    """Which models or versions."""

    after: str = ""
    limit: int = 100


@ROUTES.get("/projects/{project}/models", scope="models:read", query=ModelsQuery, returns=Page[RegisteredModel])
async def list_models(call: Call) -> Page[RegisteredModel]:
    """Registered models of a project."""
    query = call.query
    return await call.services.models.models(call.actor, call.project, after=query.after, limit=query.limit)


@ROUTES.get("/projects/{project}/models/{model}", scope="models:read", returns=RegisteredModel)
async def get_model(call: Call) -> RegisteredModel:
    """One registered model with its aliases."""
    return await call.services.models.model(call.actor, call.project, call.path["model"])


@ROUTES.delete("/projects/{project}/models/{model}", scope="models:admin", returns=None)
async def delete_model(call: Call) -> None:
    """Forget a model whose versions were all deleted."""
    await call.services.models.delete_model(call.actor, call.project, call.path["model"])


@ROUTES.post(
    "/projects/{project}/models/{model}/versions",
    scope="models:write",
    body=VersionSpec,
    returns=ModelVersion,
    status=201,
)
async def register_version(call: Call) -> ModelVersion:
    """Register a version of uploaded files; the gate's verdict is in the answer."""
    if call.body.model != call.path["model"]:
        raise InvalidValue(
            f"the body is about model {shorten(call.body.model)!r}, the path about {call.path['model']!r}.",
            fix="Make them the same.",
            field="model",
        )
    return await call.services.models.register(call.actor, call.project, call.body, key=call.key)


@ROUTES.post("/projects/{project}/inspect", scope="models:write", body=BundleFiles, returns=Inspected)
async def inspect_files(call: Call) -> Inspected:
    """What uploaded files are: the runtime that takes them, what the model takes and gives, its memory and time."""
    return await call.services.inspections.inspect(call.actor, call.project, call.body)


@ROUTES.get(
    "/projects/{project}/models/{model}/versions",
    scope="models:read",
    query=ModelsQuery,
    returns=Page[ModelVersion],
)
async def list_versions(call: Call) -> Page[ModelVersion]:
    """Versions of a model, newest first."""
    query = call.query
    return await call.services.models.versions(
        call.actor, call.project, call.path["model"], after=query.after, limit=query.limit
    )


@ROUTES.get("/projects/{project}/models/{model}/versions/{version}", scope="models:read", returns=ModelVersion)
async def get_version(call: Call) -> ModelVersion:
    """One version with its gate report."""
    return await call.services.models.version(call.actor, call.project, call.path["model"], _version(call))


@ROUTES.delete("/projects/{project}/models/{model}/versions/{version}", scope="models:admin", returns=Freed)
async def delete_version(call: Call) -> Freed:
    """Delete a version that nothing uses, and free its space."""
    return await call.services.models.delete_version(call.actor, call.project, call.path["model"], _version(call))


@ROUTES.post(
    "/projects/{project}/models/{model}/versions/{version}/approve",
    scope="models:admin",
    body=Approval,
    returns=ModelVersion,
)
async def approve(call: Call) -> ModelVersion:
    """A person's word on a version that awaits it."""
    return await call.services.models.approve(
        call.actor, call.project, call.path["model"], _version(call), call.body, key=call.key
    )


@ROUTES.get("/projects/{project}/models/{model}/versions/{version}/card", scope="models:read", returns=ModelCard)
async def get_card(call: Call) -> ModelCard:
    """The model card of a version, as Markdown."""
    text = await call.services.models.card(call.actor, call.project, call.path["model"], _version(call))
    return ModelCard(text=text)


@ROUTES.get(
    "/projects/{project}/models/{model}/versions/{version}/files/{path:path}", scope="models:read", returns=Response
)
async def get_file(call: Call) -> Response:
    """One file of a version, checked against its signed manifest."""
    content = await call.services.models.file(
        call.actor, call.project, call.path["model"], _version(call), call.path["path"]
    )
    return Response(content, media_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})


@ROUTES.put(
    "/projects/{project}/models/{model}/aliases/{alias}",
    scope="models:write",
    body=AliasChange,
    returns=RegisteredModel,
)
async def set_alias(call: Call) -> RegisteredModel:
    """Point an alias to a version, if it points to the expected one."""
    return await call.services.models.set_alias(
        call.actor, call.project, call.path["model"], call.path["alias"], call.body, key=call.key
    )


@ROUTES.delete("/projects/{project}/models/{model}/aliases/{alias}", scope="models:write", returns=RegisteredModel)
async def delete_alias(call: Call) -> RegisteredModel:
    """Remove an alias; the version stays."""
    return await call.services.models.delete_alias(call.actor, call.project, call.path["model"], call.path["alias"])


def _version(call: Call) -> int:
    text = call.path["version"]
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS_MAX and int(text) > 0):
        raise InvalidValue(f"{shorten(text)!r} is not a version: whole numbers from 1 are.", field="version")
    return int(text)
