"""What the registry asks of logged models: where one's files are, and that its registration be noted on it."""

import json

import msgspec
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.runs.logged_models import store
from sill.runs.types import Lifecycle
from sill.stores.database import Database, Tx

VERSIONS_TAG = "mlflow.modelVersions"
"""The tag that lists, as JSON, which registered versions a logged model became."""


class RegisteredFrom:
    """Logged models as the registry sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def origin(self, project: str, model_id: str) -> tuple[str, str]:
        """Where its files are, and the run that made it (may be empty).

        Raises:
            NotFound: there is no such model.
        """
        found = await self._database.read(lambda connection: store.get(connection, project, model_id))
        return found.artifact_uri, found.run_id

    def note_version(self, tx: Tx, project: str, model_id: str, name: str, version: int) -> None:
        """Note on the logged model that it was registered.

        Raises:
            NotFound: there is no such model.
        """
        found = store.get(tx.connection, project, model_id)
        known = _versions(found.tags.get(VERSIONS_TAG, ""))
        made: dict[str, str | int] = {"name": name, "version": version}
        if made not in known:
            store.keep_texts(tx, store.tags, found, {VERSIONS_TAG: json.dumps([*known, made])})


def check_owner(connection: Connection, _actor: Actor, project: str, model_id: str, is_change: bool) -> None:
    """Returns if artifacts of the logged model may be read or, if `is_change`, changed.

    Raises:
        NotFound: there is no such model.
        InvalidValue: it was deleted.
    """
    found = store.get(connection, project, model_id)
    if is_change and found.lifecycle is not Lifecycle.ACTIVE:
        raise InvalidValue(
            f"logged model {model_id} was deleted; nothing more is kept with it.", fix="Restore it.", field="model_id"
        )


def _versions(text: str) -> list[dict[str, str | int]]:
    try:
        return msgspec.json.decode(text or "[]", type=list[dict[str, str | int]])
    except msgspec.DecodeError:
        return []  # a client wrote something else under this name; it is replaced
