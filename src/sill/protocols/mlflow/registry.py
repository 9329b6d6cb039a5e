"""Messages of the model registry, and our models and versions in them."""

from collections.abc import Iterable
from typing import Any

from sill.models.types import ModelSummary, ModelVersion, NamedVersion, RegisteredModel
from sill.protocols.mlflow.wire import Int64, Wire

READY = "READY"
STATE_TAG = "sill.state"


class Tag(Wire, frozen=True, kw_only=True):
    """A tag of a model or version."""

    key: str | None = None
    value: str | None = None


class Alias(Wire, frozen=True, kw_only=True):
    """An alias of a model."""

    alias: str
    version: str


class Version(Wire, frozen=True, kw_only=True):
    """A version."""

    name: str
    version: str
    creation_timestamp: Int64
    last_updated_timestamp: Int64
    current_stage: str
    user_id: str | None = None
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    status: str | None = None
    status_message: str | None = None
    tags: tuple[Tag, ...] = ()
    run_link: str | None = None
    aliases: tuple[str, ...] = ()
    model_id: str | None = None


class Model(Wire, frozen=True, kw_only=True):
    """A registered model."""

    name: str
    creation_timestamp: Int64
    last_updated_timestamp: Int64
    description: str | None = None
    latest_versions: tuple[Version, ...] = ()
    tags: tuple[Tag, ...] = ()
    aliases: tuple[Alias, ...] = ()


class ModelAnswer(Wire, frozen=True, kw_only=True):
    """Answer about one model."""

    registered_model: Model


class ModelsAnswer(Wire, frozen=True, kw_only=True):
    """Answer of a search for models."""

    registered_models: tuple[Model, ...] = ()
    next_page_token: str = ""


class VersionAnswer(Wire, frozen=True, kw_only=True):
    """Answer about one version."""

    model_version: Version


class VersionsAnswer(Wire, frozen=True, kw_only=True):
    """Answer of a search for versions."""

    model_versions: tuple[Version, ...] = ()
    next_page_token: str = ""


class AddressAnswer(Wire, frozen=True, kw_only=True):
    """Where a version's files are."""

    artifact_uri: str


class CreateModel(Wire, frozen=True, kw_only=True):
    """Request of registered-models/create."""

    name: str | None = None
    tags: tuple[Tag, ...] | None = None
    description: str | None = None


class NamedModel(Wire, frozen=True, kw_only=True):
    """Request about one model; `new_name` and `description` where it is changed."""

    name: str | None = None
    new_name: str | None = None
    description: str | None = None


class Search(Wire, frozen=True, kw_only=True):
    """Request of a search."""

    filter: str | None = None
    max_results: Int64 | None = None
    order_by: tuple[str, ...] | None = None
    page_token: str | None = None


class LatestVersions(Wire, frozen=True, kw_only=True):
    """Request of get-latest-versions."""

    name: str | None = None
    stages: tuple[str, ...] | None = None


class CreateVersion(Wire, frozen=True, kw_only=True):
    """Request of model-versions/create."""

    name: str | None = None
    source: str | None = None
    run_id: str | None = None
    tags: tuple[Tag, ...] | None = None
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None


class OneVersion(Wire, frozen=True, kw_only=True):
    """Request about one version; the other fields where it is changed."""

    name: str | None = None
    version: str | int | None = None
    description: str | None = None
    stage: str | None = None
    archive_existing_versions: bool | None = None


class TagRequest(Wire, frozen=True, kw_only=True):
    """Request about a tag of a model, or of a version."""

    name: str | None = None
    version: str | int | None = None
    key: str | None = None
    value: str | None = None


class AliasRequest(Wire, frozen=True, kw_only=True):
    """Request about an alias."""

    name: str | None = None
    alias: str | None = None
    version: str | int | None = None


def shown_model(summary: ModelSummary) -> Model:
    """A model as MLflow's clients read it."""
    model = summary.model
    return Model(
        name=model.name,
        creation_timestamp=model.created_us // 1_000,
        last_updated_timestamp=(model.changed_us or model.created_us) // 1_000,
        description=model.note or None,
        latest_versions=tuple(shown_version(one) for one in summary.latest),
        tags=_tags(model.tags),
        aliases=tuple(Alias(alias=name, version=str(at)) for name, at in model.aliases.items()),
    )


def shown(found: NamedVersion) -> VersionAnswer:
    """A version with its aliases, as an answer."""
    return VersionAnswer(model_version=shown_version(found.version, found.aliases))


def shown_version(version: ModelVersion, aliases: Iterable[str] = ()) -> Version:
    """A version as MLflow's clients read it. One that went through a gate has its files here: it is READY."""
    report = version.gate_report
    return Version(
        name=version.model,
        version=str(version.version),
        creation_timestamp=version.created_us // 1_000,
        last_updated_timestamp=(version.changed_us or version.created_us) // 1_000,
        current_stage=version.stage.value,
        user_id=version.actor or None,
        description=version.note or version.spec.note,
        source=version.source if version.is_tracked else version.address,
        run_id=version.spec.run_id or None,
        status=READY,
        status_message=report.reason if report is not None else None,
        tags=_tags(version.tags if version.is_tracked else {STATE_TAG: version.state.value, **version.tags}),
        run_link=version.run_link or None,
        aliases=tuple(aliases),
        model_id=version.model_id or None,
    )


def aliases_of(model: RegisteredModel, version: int) -> tuple[str, ...]:
    """The aliases that point to a version."""
    return tuple(name for name, at in model.aliases.items() if at == version)


def read_tags(given: tuple[Tag, ...] | None) -> dict[str, str]:
    """Tags of a request; the last of a key counts."""
    return {tag.key or "": tag.value or "" for tag in given or ()}


def _tags(tags: dict[str, Any]) -> tuple[Tag, ...]:
    return tuple(Tag(key=key, value=value) for key, value in tags.items())
