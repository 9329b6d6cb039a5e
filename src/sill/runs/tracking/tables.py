"""The tables of what runs log: series, their last points, params, tags, artifacts by path."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, SmallInteger, Table, Text

from sill.stores.database import metadata
from sill.stores.database.schema import key_type

HEAD_LENGTH = 200
"""How many characters of a text its index has; longer ones no B-tree page of PostgreSQL takes."""

series = Table(
    "run_series",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("project", key_type(100), nullable=False),
    Column("run_id", key_type(50), nullable=False),
    Column("key", key_type(250), nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("step_min", BigInteger, nullable=False),
    Column("step_max", BigInteger, nullable=False),
    Column("ms_min", BigInteger, nullable=False),
    Column("ms_max", BigInteger, nullable=False),
    Column("points", Integer, nullable=False),
    Column("model_id", key_type(250), nullable=False),
    Column("dataset_name", Text, nullable=False),
    Column("dataset_digest", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("run_series_of", "run_id", "key", "id"),
)
"""Points, packed: a row for each batch and key as it came, merged into chunks by and by."""

last_metrics = Table(
    "run_last_metrics",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("key", key_type(250), primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Double),
    Column("logged", BigInteger, nullable=False),
    Column("loose_rows", Integer, nullable=False),
    Column("loose_points", Integer, nullable=False),
    Index("run_last_metrics_value", "project", "key", "value", "run_id"),
)
"""The last point of each series (`value` NULL means NaN), how many points ever came, and what is not merged yet."""


def _texts(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("project", key_type(100), primary_key=True),
        Column("run_id", key_type(50), primary_key=True),
        Column("key", key_type(250), primary_key=True),
        Column("head", key_type(HEAD_LENGTH), nullable=False),
        Column("value", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
        Index(f"{name}_value", "project", "key", "head", "run_id"),
    )


params = _texts("run_params")
tags = _texts("run_tags")
"""`head` is the beginning of the value; searches go through it."""

artifacts = Table(
    "run_artifacts",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("path", key_type(1_024), primary_key=True),
    Column("digest", key_type(64), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    info={"blob_digests": "digest"},
)
