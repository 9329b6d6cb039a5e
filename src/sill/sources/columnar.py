"""Reads Parquet and Arrow files. The footer is checked first and not believed after: what is produced is counted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sill.core.names import shorten
from sill.sources.failures import check_columns, check_rows, check_size, too_large, unreadable
from sill.sources.limits import ReadLimits

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 65_536
DEPTH_MAX = 16
FOOTER_STRING_BYTES_MAX = 64 * 1024**2
FOOTER_ELEMENTS_MAX = 2_000_000


def read_parquet(path: Path, where: str, limits: ReadLimits) -> "pa.Table":
    """The table; page checksums are verified where the file has them.

    Raises:
        InvalidValue: damaged, encrypted, or not Parquet.
        TooLarge: columns, row groups, rows or bytes beyond the limits, by the footer or by what is produced.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(
            path,
            page_checksum_verification=True,
            thrift_string_size_limit=FOOTER_STRING_BYTES_MAX,
            thrift_container_size_limit=FOOTER_ELEMENTS_MAX,
            pre_buffer=False,
        )
        with file:
            _check_footer(file.metadata, where, limits)
            _check_depth(file.schema_arrow, where)
            return _collect(file.iter_batches(batch_size=ROWS_PER_BATCH), file.schema_arrow, where, limits)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as wrong:
        raise _damaged(where, "Parquet", wrong) from wrong


def read_arrow(path: Path, where: str, limits: ReadLimits) -> "pa.Table":
    """The table of an Arrow IPC file or stream.

    Raises:
        InvalidValue: damaged, or not Arrow.
        TooLarge: more than the limits allow.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    try:
        with pa.OSFile(str(path)) as opened:
            reader = pa.ipc.open_file(opened) if is_file else pa.ipc.open_stream(opened)
            check_columns(where, len(reader.schema), limits)
            _check_depth(reader.schema, where)
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else iter(reader)
            return _collect(batches, reader.schema, where, limits)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as wrong:
        raise _damaged(where, "Arrow", wrong) from wrong


def _check_footer(footer: Any, where: str, limits: ReadLimits) -> None:
    check_columns(where, footer.num_columns, limits)
    if footer.num_row_groups > limits.row_groups_max:
        got = f"it has {footer.num_row_groups:,} row groups"
        raise too_large(where, "row_groups_max", got, limits.row_groups_max)
    if footer.num_rows < 0:
        raise unreadable(where, f"its footer claims {footer.num_rows} rows.", "Write the file again.")
    check_rows(where, footer.num_rows, limits)
    claimed = [footer.row_group(at).total_byte_size for at in range(footer.num_row_groups)]
    if any(size < 0 for size in claimed):
        raise unreadable(where, "its footer claims a negative size.", "Write the file again.")
    check_size(where, sum(claimed), limits)


def _check_depth(schema: "pa.Schema", where: str) -> None:
    for field in schema:
        pending = [(field.type, 1)]
        while pending:
            kind, depth = pending.pop()
            if depth > DEPTH_MAX:
                raise unreadable(
                    where, f"it is nested deeper than {DEPTH_MAX} levels.", "Flatten it.", column=field.name
                )
            pending += [(kind.field(at).type, depth + 1) for at in range(kind.num_fields)]


def _collect(batches: Any, schema: "pa.Schema", where: str, limits: ReadLimits) -> "pa.Table":
    import pyarrow as pa

    kept: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        batch.validate(full=True)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        check_rows(where, rows, limits)
        check_size(where, size, limits)
        kept.append(batch)
    return pa.Table.from_batches(kept, kept[0].schema if kept else schema)


def _damaged(where: str, kind: str, wrong: Exception) -> Exception:
    return unreadable(
        where, f"it cannot be read as {kind}: {shorten(str(wrong), 200)}", "Write the file again, or give another."
    )
