"""Tables, snapshots, data quality rules and what a write did."""

from typing import Any, Literal

from sill.core.values import Value

Action = Literal["quarantine", "repair", "refuse"]


class Between(Value, frozen=True, kw_only=True, tag="between", tag_field="rule"):
    """Values lie within [low, high]. `repair` clips."""

    column: str
    low: float | None = None
    high: float | None = None
    action: Action = "quarantine"


class Fill(Value, frozen=True, kw_only=True, tag="fill", tag_field="rule"):
    """Missing values become the batch's median, mean or mode, or a given value."""

    column: str
    strategy: Literal["median", "mean", "mode", "value"] = "median"
    value: str | float | int | bool | None = None


class OneOf(Value, frozen=True, kw_only=True, tag="one_of", tag_field="rule"):
    """Values are among `values`. `repair` sets missing."""

    column: str
    values: tuple[str | int, ...]
    action: Action = "quarantine"


class NotNull(Value, frozen=True, kw_only=True, tag="not_null", tag_field="rule"):
    """No value is missing."""

    column: str
    action: Literal["quarantine", "refuse"] = "quarantine"


class Unique(Value, frozen=True, kw_only=True, tag="unique", tag_field="rule"):
    """No two rows share these columns; of those that do, the last by the table's time (or by order) stays."""

    columns: tuple[str, ...]
    keep: Literal["first", "last"] = "last"


class Cast(Value, frozen=True, kw_only=True, tag="cast", tag_field="rule"):
    """Values become this type; those that cannot are quarantined, or set missing by `repair`."""

    column: str
    type: Literal["int64", "float64", "string", "bool", "timestamp", "date"]
    action: Literal["quarantine", "repair"] = "quarantine"


class Matches(Value, frozen=True, kw_only=True, tag="matches", tag_field="rule"):
    """Texts match a regular expression in full (RE2, linear time)."""

    column: str
    pattern: str
    action: Literal["quarantine", "refuse"] = "quarantine"


Rule = Between | Fill | OneOf | NotNull | Unique | Cast | Matches


class QualityGate(Value, frozen=True, kw_only=True):
    """Refuses a batch whole when too much of it is bad.

    Attributes:
        quarantined_fraction_max: share of rows that may be quarantined.
        repaired_fraction_max: share of rows that may be repaired.
        rows_min: fewest rows a batch must have.
    """

    quarantined_fraction_max: float = 0.5
    repaired_fraction_max: float = 1.0
    rows_min: int = 1


class TableSpec(Value, frozen=True, kw_only=True):
    """A declared table. Columns are taken from the data; new ones are added, types widen, nothing is dropped."""

    project: str
    name: str
    key: tuple[str, ...] = ()
    time: str = ""
    rules: tuple[Rule, ...] = ()
    gate: QualityGate = QualityGate()
    note: str = ""


class ColumnInfo(Value, frozen=True, kw_only=True):
    """A column as the table has it now."""

    name: str
    type: str
    nullable: bool


class Table(Value, frozen=True, kw_only=True):
    """A table: what was declared, and where it stands."""

    project: str
    name: str
    spec: TableSpec
    location: str = ""
    """Where its files lie in the blob store: `lake/PROJECT/NAME-…`; all their names start with it."""
    metadata_url: str = ""
    """The Iceberg metadata file that is current; it moves by compare-and-set. Empty until the first rows."""
    snapshot_id: int = 0
    rows: int = 0
    size_bytes: int = 0
    columns: tuple[ColumnInfo, ...] = ()
    created_us: int = 0
    updated_us: int = 0
    revision: int = 0


class SnapshotInfo(Value, frozen=True, kw_only=True):
    """One state of a table."""

    id: int
    parent_id: int
    at_us: int
    operation: str
    rows_added: int
    rows_total: int
    is_current: bool
    summary: dict[str, str] = {}


class WriteReport(Value, frozen=True, kw_only=True):
    """What a write did with the rows it was given. `rows_in = rows_written + rows_quarantined + rows_dropped`."""

    project: str
    table: str
    rows_in: int
    rows_written: int
    rows_repaired: int
    rows_quarantined: int
    rows_dropped: int
    """Duplicates of rows of this batch, or of rows the table has."""
    repaired: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    """Reason → rows."""
    columns_added: tuple[str, ...] = ()
    snapshot_id: int = 0


class SqlQuery(Value, frozen=True, kw_only=True):
    """A SELECT over the project's tables. `snapshots` pins tables to a state: name → snapshot id."""

    query: str
    snapshots: dict[str, int] = {}
    limit: int = 10_000


class SqlResult(Value, frozen=True, kw_only=True):
    """Rows of a query, as JSON values."""

    columns: tuple[ColumnInfo, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool = False
    seconds: float = 0.0


class RollbackRequest(Value, frozen=True, kw_only=True):
    """Which snapshot a table goes back to."""

    snapshot_id: int


class Freed(Value, frozen=True, kw_only=True):
    """What a deletion gave back."""

    tables: tuple[str, ...]
    files: int
    bytes_freed: int


class Upkeep(Value, frozen=True, kw_only=True):
    """How a table is tidied.

    Attributes:
        compact: rewrite many small data files as few.
        keep_s: snapshots younger than this many seconds stay readable; the current one always does.
    """

    compact: bool = True
    keep_s: float = 5 * 86_400.0


class UpkeepReport(Value, frozen=True, kw_only=True):
    """What tidying did. `note` says why nothing was rewritten, if so."""

    project: str
    table: str
    files_before: int
    files_after: int
    """Data files of the current snapshot."""
    snapshots_expired: int
    files_removed: int
    bytes_freed: int
    note: str = ""
