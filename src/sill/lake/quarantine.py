"""Rows a table would not take: kept as text, as they came, with the reason. Text holds whatever a batch brings."""

import base64
import json
from typing import TYPE_CHECKING, Any

from sill.lake.schemas import SYSTEM_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa


def as_quarantined(rows: "pa.Table", reasons: list[str]) -> "pa.Table":
    """The rows with every column but the system's as text, and `_reason`."""
    import pyarrow as pa

    columns = {
        name: column if name in SYSTEM_COLUMNS else _as_text(column)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    return pa.table({"_reason": pa.array(reasons, pa.string()), **columns})


def _as_text(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return column
    if pa.types.is_binary(column.type):
        texts = [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_nested(column.type):
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column.cast(pa.string())
