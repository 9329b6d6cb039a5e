"""What a webhook is told of an event of the log: the names under which it is told, and the data. Data is MLflow's form.

Events carry no payload, so what they leave out is read from the registry, as it is when the event is told.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection

from sill.core.clock import iso
from sill.core.errors import NotFound
from sill.core.events import Event
from sill.models.types import PROMPT_TAG, PROMPT_TEXT_TAG, ModelVersion, RegisteredModel

PROMPT_TYPE_TAG = "_mlflow_prompt_type"
_CREATED_RUN = "run.submitted"
_RUN_EVENTS = {
    "run.started": "run.started",
    "run.finished": "run.finished",
    "run.failed": "run.failed",
    "run.cancelled": "run.cancelled",
    "run.deleted": "run.deleted",
    "run.restored": "run.restored",
}
_VERSION_EVENTS = {
    "model.accepted": "model_version.accepted",
    "model.rejected": "model_version.rejected",
    "model.awaiting": "model_version.awaiting",
    "model.version_deleted": "model_version.deleted",
    "model.stage_moved": "model_version.stage_moved",
}
_TAG_EVENTS = {
    "model.tag_set": ("", "prompt_tag.set"),
    "model.tag_deleted": ("", "prompt_tag.deleted"),
    "model.version_tag_set": ("model_version_tag.set", "prompt_version_tag.set"),
    "model.version_tag_deleted": ("model_version_tag.deleted", "prompt_version_tag.deleted"),
}
KINDS = (
    *("model.created", "model.registered", "model.version_tracked", "model.alias_moved", _CREATED_RUN),
    *_RUN_EVENTS,
    *_VERSION_EVENTS,
    *_TAG_EVENTS,
)
"""The kinds of events that webhooks may be told of."""


class Models(Protocol):
    """Where models and versions are read."""

    def model_in(self, connection: Connection, project: str, name: str) -> RegisteredModel | None:
        """The model, or None."""
        ...

    def version_in(self, connection: Connection, project: str, model: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            NotFound: it is gone.
        """
        ...


def names_of(event: Event) -> tuple[str, ...]:
    """The names under which webhooks are told of an event; none if they are not."""
    data, is_prompt = event.data, bool(event.data.get("prompt"))
    if event.kind == "model.created":
        return ("prompt.created" if is_prompt else "registered_model.created",)
    if event.kind in ("model.registered", "model.version_tracked"):
        return ("prompt_version.created" if is_prompt else "model_version.created",)
    if event.kind == "model.alias_moved":
        done = "created" if data.get("version") else "deleted"
        return (f"{'prompt_alias' if is_prompt else 'model_version_alias'}.{done}",)
    if event.kind in _TAG_EVENTS:
        name = _TAG_EVENTS[event.kind][is_prompt]
        return (name,) if name else ()
    if event.kind == _CREATED_RUN:
        return ("run.created",)
    if event.kind == "run.started" and data.get("kind") == "external":
        return ("run.created", "run.started")  # it was never submitted here
    name = (_RUN_EVENTS | _VERSION_EVENTS).get(event.kind, "")
    return (name,) if name else ()


def body_of(event: Event, name: str, data: dict[str, Any]) -> str:
    """The text that is sent, and signed."""
    entity, _, action = name.partition(".")
    told = {"entity": entity, "action": action, "timestamp": iso(event.at_us), "data": data}
    return msgspec.json.encode(told).decode()


def data_of(connection: Connection, models: Models, event: Event, name: str) -> dict[str, Any]:
    """What is told of an event; empty values where the thing is gone already."""
    entity = name.partition(".")[0]
    if entity == "run":
        return {"run_id": event.subject, **event.data}
    known: dict[str, Callable[[Connection, Models, Event], dict[str, Any]]] = {
        "registered_model": _model,
        "prompt": _model,
        "model_version": _version,
        "prompt_version": _prompt_version,
        "model_version_alias": _alias,
        "prompt_alias": _alias,
    }
    return known.get(entity, _tag)(connection, models, event)


def example_of(name: str) -> dict[str, Any]:
    """Data to try a webhook with."""
    entity, _, action = name.partition(".")
    if entity == "run":
        return {"run_id": "run-00000000000000000000", "kind": "command", "name": "example_run", "training": ""}
    noun = "example_prompt" if entity.startswith("prompt") else "example_model"
    named: dict[str, Any] = {"name": noun}
    if "version" in entity and not entity.endswith("alias"):
        named["version"] = "1"
    if entity.endswith("tag"):
        return named | {"key": "example_key"} | ({"value": "example_value"} if action == "set" else {})
    if entity.endswith("alias"):
        return named | {"alias": "example_alias"} | ({"version": "1"} if action == "created" else {})
    if action == "created":
        what = {"registered_model": "registered model", "model_version": "model version"}
        about = f"An example {what.get(entity, entity.replace('_', ' '))}"
        more = {"model_version": {"source": "models:/123", "run_id": "abcd1234abcd5678"}}
        more["prompt_version"] = {"template": "Hello {{name}}!"}
        return named | more.get(entity, {}) | {"tags": {"example_key": "example_value"}, "description": about}
    return named | {"reason": "an example"}


def _model(connection: Connection, models: Models, event: Event) -> dict[str, Any]:
    found = models.model_in(connection, event.project, event.data["model"])
    tags = _shown(event.data.get("tags", found.tags if found else {}))
    note = event.data.get("note", found.note if found else "")
    return {"name": event.data["model"], "tags": tags, "description": note or None}


def _version(connection: Connection, models: Models, event: Event) -> dict[str, Any]:
    named = {"name": event.data["model"], "version": str(event.data["version"])}
    if event.kind not in ("model.registered", "model.version_tracked"):
        more = {key: event.data[key] for key in ("reason", "stage") if key in event.data}
        return named | more
    found = _found(connection, models, event)
    if found is None:
        return named | {"source": "", "run_id": None, "tags": {}, "description": None}
    return named | {
        "source": found.source or found.address,
        "run_id": found.spec.run_id or None,
        "tags": event.data.get("tags", found.tags),
        "description": event.data.get("note", found.note or found.spec.note) or None,
    }


def _prompt_version(connection: Connection, models: Models, event: Event) -> dict[str, Any]:
    found = _found(connection, models, event)
    tags = found.tags if found is not None else {}
    return {
        "name": event.data["model"],
        "version": str(event.data["version"]),
        "template": tags.get(PROMPT_TEXT_TAG),
        "tags": _shown(event.data.get("tags", tags)),
        "description": event.data.get("note", found.note if found is not None else "") or None,
    }


def _alias(_connection: Connection, _models: Models, event: Event) -> dict[str, Any]:
    told = {"name": event.data["model"], "alias": event.data["alias"]}
    return told | ({"version": str(event.data["version"])} if event.data.get("version") else {})


def _tag(connection: Connection, models: Models, event: Event) -> dict[str, Any]:
    number = event.data.get("version")
    told = {"name": event.data["model"], "key": event.data["key"]} | ({"version": str(number)} if number else {})
    if not event.kind.endswith("_set"):
        return told
    if "value" not in event.data:
        thing = (
            _found(connection, models, event) if number else models.model_in(connection, event.project, told["name"])
        )
        return told | {"value": thing.tags.get(told["key"], "") if thing is not None else ""}
    return told | {"value": event.data["value"]}


def _found(connection: Connection, models: Models, event: Event) -> ModelVersion | None:
    try:
        return models.version_in(connection, event.project, event.data["model"], event.data["version"])
    except NotFound:
        return None


def _shown(tags: dict[str, str]) -> dict[str, str]:
    """Tags without those by which clients keep a prompt as a model."""
    return {key: value for key, value in tags.items() if key not in (PROMPT_TAG, PROMPT_TYPE_TAG, PROMPT_TEXT_TAG)}
