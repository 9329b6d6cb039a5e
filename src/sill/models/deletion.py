"""What happens when a version goes: who must not use it, which aliases go with it, and which blobs nothing else needs."""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.errors import Conflict
from sill.governance.rules import require
from sill.models.store import MODELS, drop_model, drop_version, keep_model
from sill.models.types import Freed, ModelVersion, RegisteredModel
from sill.stores.blobs.sweeping import Sweeper
from sill.stores.database import Connection, Tx

Holder = Callable[[Connection, str, str, int], str]
"""Asked before a version is deleted: (connection, project, model, version) → what uses it, or nothing."""


class Deletions:
    """Removes versions and models, and frees what only they used."""

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper
        self.holders: list[Holder] = []

    def version(self, tx: Tx, actor: Actor, version: ModelVersion, *, with_aliases: bool) -> set[str]:
        """Remove a version; the digests of its files, for `let_go`.

        Args:
            with_aliases: aliases that point to it go with it; otherwise they hold it.
        Raises:
            Conflict: an alias or an endpoint uses it.
            Forbidden: it passed or failed a gate, and the actor is no admin of models.
        """
        if not version.is_tracked:
            require(actor, "models:admin", version.project)
        model = MODELS.get(tx.connection, version.project, version.model)
        aliases = [name for name, at in model.aliases.items() if at == version.version]
        self.check_free(tx.connection, version, () if with_aliases else aliases)
        left = {name: at for name, at in model.aliases.items() if name not in aliases}
        keep_model(tx, replace(model, aliases=left, changed_us=tx.now_us))
        drop_version(tx, version)
        return {*version.spec.files.values(), version.manifest} - {""}

    def model(self, tx: Tx, actor: Actor, model: RegisteredModel, versions: list[ModelVersion]) -> set[str]:
        """Remove a model with these, all its versions; the digests of their files. Errors as `version`."""
        digests = {digest for one in versions for digest in self.version(tx, actor, one, with_aliases=True)}
        drop_model(tx, model)
        return digests

    def check_free(self, connection: Connection, version: ModelVersion, aliases: Iterable[str] = ()) -> None:
        """Returns if nothing uses the version; `aliases` are uses too.

        Raises:
            Conflict: something does.
        """
        asked = (holder(connection, version.project, version.model, version.version) for holder in self.holders)
        users = [*(f"alias {name!r}" for name in aliases), *(user for user in asked if user)]
        if users:
            raise Conflict(
                f"version {version.version} of model {version.model!r} is in use by {', '.join(users)}.",
                fix="Point the alias elsewhere, or roll the endpoint to another version, then repeat it.",
            )

    async def sweep(self, unused: tuple[str, ...]) -> Freed:
        """Free the bytes of blobs that `let_go` named, once that transaction is on the disk."""
        return Freed(blobs=len(unused), size_bytes=await self._sweeper.sweep(unused))
