"""Does an ingestion: the platform reads its sources, or a function of the user's returns the rows (or where they are)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sill.agent.calling import call, find_function
from sill.agent.platform import Platform
from sill.agent.recording import write_json
from sill.core.errors import InvalidValue
from sill.lake.types import WriteReport
from sill.sdk.applying import is_local, local_places, upload_place
from sill.sources.types import IngestionSpec, Source

if TYPE_CHECKING:
    import pyarrow as pa

REPORT = "report.json"
"""The artifact that holds the write's report."""
_ALLOWED = "an Arrow table, a list of dicts, a pandas or Polars frame, or sill.read(...) is allowed"


def execute_ingestion(platform: Platform, task: Mapping[str, Any], folder: Path) -> None:
    """Do a task of the kind `ingest`.

    Raises:
        InvalidValue: the function returned something that is no data.
        Refused: the table's quality gate refused the batch.
    """
    spec = msgspec.convert(task["ingestion"], IngestionSpec)
    key = f"{platform.run_id}/append"
    if not spec.function:
        report = platform.execute_ingestion(spec.name, key)
    else:
        returned = call_ingestion(spec, folder)
        sources = as_sources(returned)
        if sources:
            report = _read_sources(platform, spec, sources, folder, key)
        else:
            report = platform.append(spec.table, as_table(returned), key, spec.name)
    say_report(report)
    write_json(REPORT, report)


def call_ingestion(spec: IngestionSpec, folder: Path) -> Any:
    """What the ingestion's function returns."""
    module, _, function = spec.function.partition(":")
    return call(find_function(module, function, folder), folder)


def as_sources(returned: Any) -> tuple[Source, ...]:
    """The sources a function returned, if it returned sources."""
    if isinstance(returned, Source):
        return (returned,)
    if isinstance(returned, Sequence) and returned and all(isinstance(each, Source) for each in returned):
        return tuple(returned)
    return ()


def as_table(returned: Any) -> "pa.Table":
    """The rows a function returned, as an Arrow table.

    Raises:
        InvalidValue: it returned something else, or rows whose values do not fit together.
    """
    import pyarrow as pa

    try:
        if isinstance(returned, pa.Table):
            return returned
        if isinstance(returned, pa.RecordBatch):
            return pa.Table.from_batches([returned])
        if isinstance(returned, list) and all(isinstance(row, dict) for row in returned):
            return pa.Table.from_pylist(returned)
        if isinstance(returned, dict) and all(isinstance(column, list) for column in returned.values()):
            return pa.table(returned)
        if type(returned).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(returned, preserve_index=False)
        if hasattr(returned, "__arrow_c_stream__"):  # Polars, DuckDB and others
            return pa.table(returned)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, TypeError) as wrong:
        raise InvalidValue(f"the returned rows are no table: {wrong}.", fix="Give each column one type.") from wrong
    raise InvalidValue(f"the function returned a {type(returned).__qualname__}; {_ALLOWED}.", fix="Return the rows.")


def say_report(report: WriteReport) -> None:
    """What a write did, as lines of the run's log."""
    print(
        f"{report.table}: {report.rows_in} rows in, {report.rows_written} written, {report.rows_repaired} repaired, "
        f"{report.rows_quarantined} quarantined, {report.rows_dropped} dropped; snapshot {report.snapshot_id}",
        flush=True,
    )
    for reason, rows in {**report.repaired, **report.quarantined}.items():
        print(f"  {reason}: {rows}", flush=True)


def _read_sources(
    platform: Platform, spec: IngestionSpec, sources: tuple[Source, ...], folder: Path, key: str
) -> WriteReport:
    """Let the platform read what the function named; local files and folders are uploaded first."""
    found: list[Source] = []
    for source in sources:
        if is_local(source.url):
            places = local_places(folder, source.url)
            urls = [upload_place(platform.client, spec.project, place).url for place in places]
            found += [msgspec.structs.replace(source, url=url) for url in urls]
        else:
            found.append(source)
    derived = msgspec.structs.replace(
        spec, name=f"{spec.name}.sources", function="", code="", every="", sources=tuple(found), revision=0
    )
    platform.declare_ingestion(derived)
    return platform.execute_ingestion(derived.name, key)
