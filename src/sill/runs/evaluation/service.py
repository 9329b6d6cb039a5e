"""Use cases of evaluation datasets: make, look, tag, use in experiments, fill with records, delete."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import InvalidValue, TooLarge
from sill.core.names import shorten
from sill.governance.rules import require
from sill.runs.evaluation import store
from sill.runs.evaluation.types import EvaluationDataset, EvaluationRecord, RecordsUpserted, RecordUpsert
from sill.runs.experiments import store as experiments
from sill.runs.tracing.pages import read_place, write_place
from sill.runs.tracing.rules import check_texts
from sill.stores.database import Database, Page, Tx

NAME_LENGTH_MAX = 500
EXPERIMENTS_MAX = 1_000
LIMIT_MAX = 50_000
RECORDS_AT_ONCE_MAX = 10_000
RECORDS_MAX = 1_000_000
RECORD_BYTES_MAX = 4_000_000
USER_TAG = "mlflow.user"
_PARTS = ("inputs", "outputs", "expectations")
_TYPES = ((bool, "boolean"), (int, "integer"), (float, "float"), (str, "string"), (list, "array"), (dict, "object"))


class EvaluationDatasets:
    """Evaluation datasets of all projects."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def create(
        self,
        actor: Actor,
        project: str,
        name: str,
        *,
        experiment_ids: Sequence[str] = (),
        tags: dict[str, str] | None = None,
    ) -> EvaluationDataset:
        """Make a dataset without records. Names need not differ: the id names it.

        Raises:
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        told = tags or {}
        check_texts(told, "tags")
        if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
            raise InvalidValue(
                f"dataset name {shorten(name)!r} is not allowed: 1 to {NAME_LENGTH_MAX} printable characters are.",
                field="name",
            )
        dataset_id = self._ids.new("d")

        def work(tx: Tx) -> EvaluationDataset:
            _check_experiments(tx, project, experiment_ids, actor.id)
            now_ms = tx.now_us // 1_000
            user = told.get(USER_TAG, "")
            made = EvaluationDataset(
                id=dataset_id,
                project=project,
                name=name,
                tags=told,
                experiment_ids=tuple(experiment_ids),
                digest=_digest(name, now_ms),
                created_ms=now_ms,
                updated_ms=now_ms,
                created_by=user,
                updated_by=user,
                revision=1,
            )
            tx.emit("evaluation_dataset.created", project, dataset_id, actor.id, name=name)
            return store.create(tx, made)

        return await self._database.write(work)

    async def dataset(self, actor: Actor, project: str, dataset_id: str) -> EvaluationDataset:
        """One dataset, without its records."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: store.get(connection, project, dataset_id))

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        experiment_ids: Sequence[str] = (),
        filter: str = "",
        order_by: Sequence[str] = (),
        limit: int = 1_000,
        after: str = "",
    ) -> Page[EvaluationDataset]:
        """Datasets that a filter matches; of all experiments if none is named. Newest first unless ordered otherwise."""
        require(actor, "runs:read", project)
        _check_limit(limit)
        _check_count(experiment_ids)
        offset = read_place(after)

        def work(connection: Connection) -> Page[EvaluationDataset]:
            found, has_more = store.find(connection, project, experiment_ids, filter, order_by, limit, offset)
            return Page(items=tuple(found), next=write_place(offset + limit) if has_more else "")

        return await self._database.read(work)

    async def set_tags(self, actor: Actor, project: str, dataset_id: str, tags: dict[str, str]) -> EvaluationDataset:
        """Set tags, new or changed."""
        require(actor, "runs:write", project)
        check_texts(tags, "tags")

        def work(tx: Tx) -> EvaluationDataset:
            known = store.get(tx.connection, project, dataset_id)
            store.set_tags(tx, known, tags)
            user = tags.get(USER_TAG, known.updated_by)
            return store.replace(tx, msgspec.structs.replace(known, updated_ms=tx.now_us // 1_000, updated_by=user))

        return await self._database.write(work)

    async def delete_tag(self, actor: Actor, project: str, dataset_id: str, key: str) -> None:
        """Take a tag off; one that is not there is no error."""
        require(actor, "runs:write", project)
        await self._database.write(lambda tx: store.delete_tag(tx, store.get(tx.connection, project, dataset_id), key))

    async def use(
        self, actor: Actor, project: str, dataset_id: str, experiment_ids: Sequence[str]
    ) -> EvaluationDataset:
        """Keep that experiments use the dataset, beside those that do."""
        return await self._relate(actor, project, dataset_id, experiment_ids, are_used=True)

    async def leave(
        self, actor: Actor, project: str, dataset_id: str, experiment_ids: Sequence[str]
    ) -> EvaluationDataset:
        """Keep that experiments do not use the dataset; one that did not is no error."""
        return await self._relate(actor, project, dataset_id, experiment_ids, are_used=False)

    async def delete(self, actor: Actor, project: str, dataset_id: str) -> None:
        """Delete a dataset with all its records."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> None:
            store.forget(tx, store.get(tx.connection, project, dataset_id))
            tx.emit("evaluation_dataset.deleted", project, dataset_id, actor.id)

        await self._database.write(work)

    async def upsert(
        self, actor: Actor, project: str, dataset_id: str, given: Sequence[RecordUpsert]
    ) -> RecordsUpserted:
        """Add records, all or none; one whose inputs are known is merged into the known one.

        Raises:
            TooLarge: too many at once, too many in all, or one that is too long.
        """
        require(actor, "runs:write", project)
        _check_records(given)

        def work(tx: Tx) -> RecordsUpserted:
            dataset = store.get(tx.connection, project, dataset_id)
            counted = self._keep(tx, dataset, given)
            total = dataset.records + counted.inserted
            if total > RECORDS_MAX:
                raise TooLarge(f"a dataset has at most {RECORDS_MAX} records.", fix="Make another.")
            now_ms = tx.now_us // 1_000
            users = [record.tags[USER_TAG] for record in given if record.tags and USER_TAG in record.tags]
            user = users[-1] if users else dataset.updated_by
            schema = _schema(dataset.schema, given)
            fresh = {"records": total, "schema": schema, "updated_ms": now_ms, "updated_by": user}
            store.replace(tx, msgspec.structs.replace(dataset, **fresh, digest=_digest(dataset.name, now_ms)))
            tx.emit(
                "evaluation_dataset.changed",
                *(project, dataset_id, actor.id),
                inserted=counted.inserted,
                updated=counted.updated,
            )
            return counted

        return await self._database.write(work)

    async def records(
        self, actor: Actor, project: str, dataset_id: str, *, limit: int = 1_000, after: str = ""
    ) -> Page[EvaluationRecord]:
        """Records of a dataset in the order they came."""
        require(actor, "runs:read", project)
        _check_limit(limit)
        offset = read_place(after)

        def work(connection: Connection) -> Page[EvaluationRecord]:
            store.get(connection, project, dataset_id)
            found, has_more = store.read_records(connection, project, dataset_id, limit, offset)
            return Page(items=tuple(found), next=write_place(offset + limit) if has_more else "")

        return await self._database.read(work)

    async def delete_records(self, actor: Actor, project: str, dataset_id: str, ids: Sequence[str]) -> int:
        """Delete records; how many of them were there."""
        require(actor, "runs:write", project)
        if len(ids) > RECORDS_AT_ONCE_MAX:
            raise TooLarge(f"{len(ids)} records are named; at most {RECORDS_AT_ONCE_MAX} at once are.")

        def work(tx: Tx) -> int:
            dataset = store.get(tx.connection, project, dataset_id)
            count = store.delete_records(tx, dataset, ids)
            if count:
                left = store.count_records(tx.connection, dataset)
                store.replace(tx, msgspec.structs.replace(dataset, records=left))
                tx.emit("evaluation_dataset.changed", project, dataset_id, actor.id, deleted=count)
            return count

        return await self._database.write(work)

    async def _relate(
        self, actor: Actor, project: str, dataset_id: str, experiment_ids: Sequence[str], *, are_used: bool
    ) -> EvaluationDataset:
        require(actor, "runs:write", project)

        def work(tx: Tx) -> EvaluationDataset:
            dataset = store.get(tx.connection, project, dataset_id)
            if are_used:
                _check_experiments(tx, project, experiment_ids, actor.id)
                store.use(tx, dataset, experiment_ids)
            else:
                _check_count(experiment_ids)
                store.leave(tx, dataset, experiment_ids)
            return store.replace(tx, msgspec.structs.replace(dataset, updated_ms=tx.now_us // 1_000))

        return await self._database.write(work)

    def _keep(self, tx: Tx, dataset: EvaluationDataset, given: Sequence[RecordUpsert]) -> RecordsUpserted:
        digests = [store.digest(record.inputs) for record in given]
        known = store.known_records(tx.connection, dataset, digests)
        inserted = updated = 0
        for inputs_digest, record in zip(digests, given, strict=True):
            before = known.get(inputs_digest)
            now_ms = tx.now_us // 1_000
            kept = _merged(before, record, now_ms) if before else self._record(dataset, record, now_ms)
            store.put_record(tx, dataset, kept, is_new=before is None)
            known[inputs_digest] = kept
            inserted, updated = inserted + (before is None), updated + (before is not None)
        return RecordsUpserted(inserted=inserted, updated=updated)

    def _record(self, dataset: EvaluationDataset, given: RecordUpsert, now_ms: int) -> EvaluationRecord:
        user = (given.tags or {}).get(USER_TAG, "")
        return EvaluationRecord(
            id=self._ids.new("dr"),
            dataset_id=dataset.id,
            inputs=given.inputs,
            outputs=given.outputs,
            expectations=given.expectations,
            tags=given.tags,
            source=given.source,
            created_ms=now_ms,
            updated_ms=now_ms,
            created_by=user,
            updated_by=user,
        )


def _merged(known: EvaluationRecord, given: RecordUpsert, now_ms: int) -> EvaluationRecord:
    """Expectations and tags are merged, outputs and source are replaced where they are given."""
    expectations = (known.expectations or {}) | (given.expectations or {})
    tags = (known.tags or {}) | (given.tags or {})
    return msgspec.structs.replace(
        known,
        outputs=known.outputs if given.outputs is None else given.outputs,
        expectations=expectations or known.expectations,
        tags=tags or known.tags,
        source=known.source or given.source,
        updated_ms=now_ms,
        updated_by=(given.tags or {}).get(USER_TAG, known.updated_by),
    )


def _schema(known: dict[str, Any] | None, given: Sequence[RecordUpsert]) -> dict[str, Any] | None:
    """The fields seen so far, and the type each had when it was first seen."""
    if not given and known is None:
        return None
    schema: dict[str, Any] = {part: (known or {}).get(part, {}) for part in _PARTS} | {"version": "1.0"}
    for record in given:
        for part in _PARTS:
            value = getattr(record, part)
            if isinstance(value, dict) and isinstance(schema[part], dict):
                schema[part] = {name: _type_of(each) for name, each in value.items()} | schema[part]
            elif value is not None and not schema[part]:
                schema[part] = _type_of(value)
    return schema


def _type_of(value: Any) -> str:
    return "null" if value is None else next((name for kind, name in _TYPES if isinstance(value, kind)), "unknown")


def _digest(name: str, updated_ms: int) -> str:
    return hashlib.sha256(f"{name}:{updated_ms}".encode()).hexdigest()[:8]


def _check_records(given: Sequence[RecordUpsert]) -> None:
    if len(given) > RECORDS_AT_ONCE_MAX:
        raise TooLarge(
            f"{len(given)} records are sent; at most {RECORDS_AT_ONCE_MAX} at once are taken.", fix="Send several."
        )
    for record in given:
        size = len(msgspec.json.encode(record))
        if size > RECORD_BYTES_MAX:
            raise TooLarge(
                f"a record has {size} bytes; at most {RECORD_BYTES_MAX} are taken.", fix="Refer to large data."
            )
        check_texts(record.tags or {}, "tags")


def _check_experiments(tx: Tx, project: str, experiment_ids: Sequence[str], actor_id: str) -> None:
    _check_count(experiment_ids)
    experiments.ensure_default(tx, project, actor_id)
    for experiment_id in experiment_ids:
        experiments.get(tx.connection, project, experiment_id)


def _check_count(experiment_ids: Sequence[str]) -> None:
    if len(experiment_ids) > EXPERIMENTS_MAX:
        raise InvalidValue(
            f"{len(experiment_ids)} experiments are named; at most {EXPERIMENTS_MAX} are.", field="experiment_ids"
        )


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidValue(f"limit {limit} is not within 1 to {LIMIT_MAX}.", field="max_results")
