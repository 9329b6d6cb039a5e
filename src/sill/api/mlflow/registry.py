"""Registered models, their versions, tags, aliases and stages for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.core.errors import PluginMissing, Refused
from sill.core.names import shorten
from sill.models.rules import CHAMPION
from sill.models.search import MODELS_MAX, VERSIONS_MAX
from sill.models.types import ModelSummary, Stage, TrackedSpec
from sill.protocols.mlflow.errors import RESOURCE_ALREADY_EXISTS, invalid, invalid_value
from sill.protocols.mlflow.registry import (
    AddressAnswer,
    AliasRequest,
    CreateModel,
    CreateVersion,
    LatestVersions,
    ModelAnswer,
    ModelsAnswer,
    NamedModel,
    OneVersion,
    Search,
    TagRequest,
    VersionAnswer,
    VersionsAnswer,
    aliases_of,
    read_tags,
    shown,
    shown_model,
    shown_version,
)

ROUTES = WireRoutes(tag="registry")

MODELS_DEFAULT, VERSIONS_DEFAULT = 100, 10_000
VERSION_DIGITS_MAX = 15
_MODEL = "/mlflow/registered-models"
_VERSION = "/mlflow/model-versions"
_ONE = ("name", "version")


@ROUTES.post(
    f"{_MODEL}/create", scope="models:write", body=CreateModel, required=("name",), conflict=RESOURCE_ALREADY_EXISTS
)
async def create_model(call: Call) -> ModelAnswer:
    """Make a registered model."""
    body: CreateModel = call.body
    made = await call.services.registry.create(
        call.actor,
        call.project,
        body.name or "",
        tags=read_tags(body.tags),
        note=body.description or "",
        key=call.key,
    )
    return ModelAnswer(registered_model=shown_model(ModelSummary(model=made)))


@ROUTES.get(f"{_MODEL}/get", scope="models:read", body=NamedModel, required=("name",))
async def get_model(call: Call) -> ModelAnswer:
    """One registered model."""
    found = await call.services.registry.get(call.actor, call.project, call.body.name)
    return ModelAnswer(registered_model=shown_model(found))


@ROUTES.post(
    f"{_MODEL}/rename",
    scope="models:write",
    body=NamedModel,
    required=("name", "new_name"),
    conflict=RESOURCE_ALREADY_EXISTS,
)
async def rename_model(call: Call) -> ModelAnswer:
    """Give a registered model another name."""
    found = await call.services.registry.rename(call.actor, call.project, call.body.name, call.body.new_name)
    return ModelAnswer(registered_model=shown_model(found))


@ROUTES.patch(f"{_MODEL}/update", scope="models:write", body=NamedModel, required=("name",))
async def update_model(call: Call) -> ModelAnswer:
    """Change the description of a registered model."""
    found = await call.services.registry.describe(call.actor, call.project, call.body.name, call.body.description or "")
    return ModelAnswer(registered_model=shown_model(found))


@ROUTES.delete(f"{_MODEL}/delete", scope="models:write", body=NamedModel, required=("name",))
async def delete_model(call: Call) -> None:
    """Delete a registered model with its versions."""
    await call.services.registry.delete(call.actor, call.project, call.body.name)


@ROUTES.get(f"{_MODEL}/search", scope="models:read", body=Search)
async def search_models(call: Call) -> ModelsAnswer:
    """Registered models that meet a filter."""
    body: Search = call.body
    page = await call.services.registry.search(
        call.actor,
        call.project,
        filter=body.filter or "",
        order_by=body.order_by or (),
        limit=_limit(body, MODELS_DEFAULT, MODELS_MAX),
        after=body.page_token or "",
    )
    return ModelsAnswer(registered_models=tuple(shown_model(one) for one in page.items), next_page_token=page.next)


@ROUTES.get(f"{_MODEL}/get-latest-versions", scope="models:read", body=LatestVersions, required=("name",))
async def read_latest_versions(call: Call) -> VersionsAnswer:
    """The newest version of each stage."""
    return await _latest(call)


@ROUTES.post(f"{_MODEL}/get-latest-versions", scope="models:read", body=LatestVersions, required=("name",))
async def get_latest_versions(call: Call) -> VersionsAnswer:
    """The newest version of each stage, asked for with a body."""
    return await _latest(call)


async def _latest(call: Call) -> VersionsAnswer:
    body: LatestVersions = call.body
    registry = call.services.registry
    found = await registry.latest(call.actor, call.project, body.name or "", body.stages or ())
    model = (await registry.get(call.actor, call.project, body.name or "")).model
    return VersionsAnswer(model_versions=tuple(shown_version(one, aliases_of(model, one.version)) for one in found))


@ROUTES.post(f"{_MODEL}/set-tag", scope="models:write", body=TagRequest, required=("name", "key"))
async def set_model_tag(call: Call) -> None:
    """Set a tag of a registered model."""
    body: TagRequest = call.body
    await call.services.registry.set_tag(call.actor, call.project, body.name or "", body.key or "", body.value or "")


@ROUTES.delete(f"{_MODEL}/delete-tag", scope="models:write", body=TagRequest, required=("name", "key"))
async def delete_model_tag(call: Call) -> None:
    """Remove a tag of a registered model."""
    await call.services.registry.delete_tag(call.actor, call.project, call.body.name, call.body.key)


@ROUTES.post(f"{_MODEL}/alias", scope="models:write", body=AliasRequest, required=("name", "alias", "version"))
async def set_alias(call: Call) -> None:
    """Point an alias to a version. The one that is made `champion` is taken up by the endpoints that follow the model."""
    body: AliasRequest = call.body
    name, alias, version = body.name or "", body.alias or "", version_of(body.version)
    await call.services.tracked.set_alias(call.actor, call.project, name, alias, version)
    if alias == CHAMPION and await _may_serve(call, name, version):
        await call.services.endpoints.take_up(call.actor, call.project, name, version)


@ROUTES.delete(f"{_MODEL}/alias", scope="models:write", body=AliasRequest, required=("name", "alias"))
async def delete_alias(call: Call) -> None:
    """Remove an alias."""
    await call.services.tracked.delete_alias(call.actor, call.project, call.body.name, call.body.alias)


@ROUTES.get(f"{_MODEL}/alias", scope="models:read", body=AliasRequest, required=("name", "alias"))
async def get_version_by_alias(call: Call) -> VersionAnswer:
    """The version an alias points to."""
    return shown(await call.services.tracked.by_alias(call.actor, call.project, call.body.name, call.body.alias))


@ROUTES.post(f"{_VERSION}/create", scope="models:write", body=CreateVersion, required=("name", "source"))
async def create_version(call: Call) -> VersionAnswer:
    """Register a version by the address of its files."""
    body: CreateVersion = call.body
    spec = TrackedSpec(
        model=body.name or "",
        source=body.source or "",
        run_id=body.run_id or "",
        run_link=body.run_link or "",
        model_id=body.model_id or "",
        note=body.description or "",
        tags=read_tags(body.tags),
    )
    return shown(await call.services.tracked.create(call.actor, call.project, spec, key=call.key))


@ROUTES.get(f"{_VERSION}/get", scope="models:read", body=OneVersion, required=_ONE)
async def get_version(call: Call) -> VersionAnswer:
    """One version."""
    version = version_of(call.body.version)
    return shown(await call.services.tracked.get(call.actor, call.project, call.body.name, version))


@ROUTES.patch(f"{_VERSION}/update", scope="models:write", body=OneVersion, required=_ONE)
async def update_version(call: Call) -> VersionAnswer:
    """Change the description of a version."""
    body: OneVersion = call.body
    version = version_of(body.version)
    return shown(
        await call.services.tracked.describe(call.actor, call.project, body.name or "", version, body.description or "")
    )


@ROUTES.post(f"{_VERSION}/transition-stage", scope="models:write", body=OneVersion, required=(*_ONE, "stage"))
async def transition_stage(call: Call) -> VersionAnswer:
    """Move a version to a stage. In Production it is the `champion` too."""
    body: OneVersion = call.body
    tracked, name, version = call.services.tracked, body.name or "", version_of(body.version)
    archive = bool(body.archive_existing_versions)
    moved = await tracked.set_stage(call.actor, call.project, name, version, body.stage or "", archive=archive)
    if moved.version.stage is Stage.PRODUCTION and await _may_serve(call, name, version):
        await tracked.set_alias(call.actor, call.project, name, CHAMPION, version)
        await call.services.endpoints.take_up(call.actor, call.project, name, version)
        moved = await tracked.get(call.actor, call.project, name, version)
    return shown(moved)


@ROUTES.delete(f"{_VERSION}/delete", scope="models:write", body=OneVersion, required=_ONE)
async def delete_version(call: Call) -> None:
    """Delete a version."""
    await call.services.tracked.delete(call.actor, call.project, call.body.name, version_of(call.body.version))


@ROUTES.get(f"{_VERSION}/search", scope="models:read", body=Search)
async def search_versions(call: Call) -> VersionsAnswer:
    """Versions that meet a filter."""
    body: Search = call.body
    page = await call.services.tracked.search(
        call.actor,
        call.project,
        filter=body.filter or "",
        order_by=body.order_by or (),
        limit=_limit(body, VERSIONS_DEFAULT, VERSIONS_MAX),
        after=body.page_token or "",
    )
    return VersionsAnswer(model_versions=tuple(shown_version(one) for one in page.items), next_page_token=page.next)


@ROUTES.get(f"{_VERSION}/get-download-uri", scope="models:read", body=OneVersion, required=_ONE)
async def get_download_uri(call: Call) -> AddressAnswer:
    """Where a version's files are."""
    version = version_of(call.body.version)
    found = await call.services.tracked.get(call.actor, call.project, call.body.name, version)
    return AddressAnswer(artifact_uri=found.version.address)


@ROUTES.post(f"{_VERSION}/set-tag", scope="models:write", body=TagRequest, required=(*_ONE, "key"))
async def set_version_tag(call: Call) -> None:
    """Set a tag of a version."""
    body: TagRequest = call.body
    await call.services.tracked.set_tag(
        call.actor, call.project, body.name or "", version_of(body.version), body.key or "", body.value or ""
    )


@ROUTES.delete(f"{_VERSION}/delete-tag", scope="models:write", body=TagRequest, required=(*_ONE, "key"))
async def delete_version_tag(call: Call) -> None:
    """Remove a tag of a version."""
    body: TagRequest = call.body
    await call.services.tracked.delete_tag(
        call.actor, call.project, body.name or "", version_of(body.version), body.key or ""
    )


async def _may_serve(call: Call, name: str, version: int) -> bool:
    """Whether a version can serve, once it was promoted if it is tracked. Others are known to MLflow's clients only.

    Why one cannot is kept on the version, where `sill models` shows it.
    """
    try:
        return (await call.services.promotions.promote(call.actor, call.project, name, version)).may_serve
    except (Refused, PluginMissing):
        return False


def version_of(text: str | int | None) -> int:
    """The number of a version.

    Raises:
        InvalidValue: it is none.
    """
    given = str(text)
    digits = given.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= VERSION_DIGITS_MAX):
        raise invalid(f"Parameter 'version' must be an integer, got '{shorten(given)}'.")
    return int(given)


def _limit(body: Search, usual: int, most: int) -> int:
    limit = usual if body.max_results is None else body.max_results
    if limit > most:
        raise invalid_value("max_results", limit, f"max_results must be at most {most}.")
    return limit
