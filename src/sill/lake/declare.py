"""Declared tables: made, changed, found; a table nobody declared is made by its first rows."""

import uuid

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, Limited
from sill.core.names import NAME_LENGTH_MAX, check_column, check_name
from sill.lake.catalog import Parts
from sill.lake.rules import RULES_MAX, matching
from sill.lake.store import QUARANTINE_SUFFIX, TABLES, is_quarantine
from sill.lake.types import Matches, Table, TableSpec, Unique
from sill.stores.database import Tx

TABLES_MAX = 10_000
"""Most tables a project may have."""
PATTERN_LENGTH_MAX = 1_000
NOTE_LENGTH_MAX = 10_000
TABLE_NAME_LENGTH_MAX = NAME_LENGTH_MAX - len(QUARANTINE_SUFFIX)


def check_spec(spec: TableSpec) -> TableSpec:
    """The declaration itself, if it is allowed.

    Raises:
        InvalidValue: a name is none, or is kept for quarantined rows; there are too many rules; a gate is out of range.
    """
    check_table_name(spec.name)
    for column in (*spec.key, *((spec.time,) if spec.time else ())):
        check_column(column)
    if len(spec.rules) > RULES_MAX:
        raise InvalidValue(f"{len(spec.rules)} rules are declared; at most {RULES_MAX} are allowed.", field="rules")
    for rule in spec.rules:
        columns = rule.columns if isinstance(rule, Unique) else (rule.column,)
        if not columns:
            raise InvalidValue("rule unique names no column; at least one is needed.", field="rules")
        for column in columns:
            check_column(column, "rules")
        if isinstance(rule, Matches):
            _check_pattern(rule)
    for name in ("quarantined_fraction_max", "repaired_fraction_max"):
        if not 0 <= getattr(spec.gate, name) <= 1:
            raise InvalidValue(f"{name} {getattr(spec.gate, name)} is not within 0 to 1.", field=f"gate.{name}")
    if spec.gate.rows_min < 0:
        raise InvalidValue(f"rows_min {spec.gate.rows_min} is below zero.", field="gate.rows_min")
    if len(spec.note) > NOTE_LENGTH_MAX:
        raise InvalidValue(f"the note is longer than {NOTE_LENGTH_MAX:,} characters.", field="note")
    return spec


def _check_pattern(rule: Matches) -> None:
    if len(rule.pattern) > PATTERN_LENGTH_MAX:
        raise InvalidValue(
            f"the pattern for {rule.column!r} has {len(rule.pattern)} characters; at most {PATTERN_LENGTH_MAX} are allowed.",
            field="rules",
        )
    import pyarrow as pa

    matching(rule, pa.array([""], pa.string()))


def check_table_name(name: str) -> str:
    """The name itself, if a table may have it."""
    check_name(name)
    if "__" in name:
        raise InvalidValue(
            f"table name {name!r} holds '__', which is kept for quarantine tables.", fix="Use a single _."
        )
    if len(name) > TABLE_NAME_LENGTH_MAX:
        raise InvalidValue(f"table name {name!r} is longer than {TABLE_NAME_LENGTH_MAX} characters.", fix="Shorten it.")
    return name


def put_spec(tx: Tx, actor: Actor, spec: TableSpec) -> Table:
    """Keep a declaration; the rows of a table that is there stay as they are."""
    current = TABLES.find(tx.connection, spec.project, spec.name)
    if current is not None and current.spec == spec:
        return current
    kept = (
        _create(tx, spec) if current is None else TABLES.replace(tx, replace(current, spec=spec, updated_us=tx.now_us))
    )
    tx.emit("table.declared", spec.project, spec.name, actor.id, rules=len(spec.rules), is_new=current is None)
    return kept


def find_or_create(parts: Parts, actor: Actor, project: str, name: str) -> Table:
    """The table; one without rules if it is not there.

    The pointer stands before any file is written, so that a file whose table has none is known to be garbage.
    """
    found = parts.database.read_sync(lambda connection: TABLES.find(connection, project, name))
    if found is not None:
        return found
    spec = TableSpec(project=project, name=name)
    return parts.database.write_sync(
        lambda tx: TABLES.find(tx.connection, project, name) or _create_and_tell(tx, actor, spec)
    )


def _create_and_tell(tx: Tx, actor: Actor, spec: TableSpec) -> Table:
    made = _create(tx, spec)
    if not is_quarantine(spec.name):
        tx.emit("table.declared", spec.project, spec.name, actor.id, rules=0, is_new=True)
    return made


def _create(tx: Tx, spec: TableSpec) -> Table:
    if TABLES.count(tx.connection, spec.project) >= TABLES_MAX:
        raise Limited(
            f"project {spec.project!r} has {TABLES_MAX} tables already.", fix="Delete some.", limit=TABLES_MAX
        )
    location = f"lake/{spec.project}/{spec.name}-{uuid.uuid4().hex}"
    table = Table(
        project=spec.project, name=spec.name, spec=spec, location=location, created_us=tx.now_us, updated_us=tx.now_us
    )
    return TABLES.create(tx, table)
