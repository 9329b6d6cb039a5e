"""Ingestions: what a function may return, and that sources it names are read by the platform."""

import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from sill.agent.calling import UserError
from sill.agent.ingest import as_table, execute_ingestion
from sill.agent.platform import Platform
from sill.core.errors import InvalidValue
from sill.lake.types import WriteReport
from sill.sources.types import IngestionSpec

from .conftest import StandIn

CODE = """
import sill

def rows():
    return [{"id": 1, "load": 0.5}, {"id": 2, "load": None}]

def places():
    return [sill.read("images", format="images"), sill.read("https://example.org/a.csv")]

def broken():
    return open("nowhere").read()
"""


def task(function: str) -> dict[str, Any]:
    spec = IngestionSpec(project="p", name="daily", table="rows", function=f"ingest_code:{function}")
    return {"ingestion": msgspec.to_builtins(spec)}


@pytest.fixture
def code(folder: Path) -> Path:
    (folder / "ingest_code.py").write_text(CODE)
    return folder


def test_rows_a_function_returns_are_appended_once_for_the_run(
    platform: Platform, stand_in: StandIn, code: Path, tmp_path: Path
) -> None:
    execute_ingestion(platform, task("rows"), code)

    assert [table.to_pylist() for table in stand_in.appended] == [[{"id": 1, "load": 0.5}, {"id": 2, "load": None}]]
    kept = msgspec.json.decode((tmp_path / "run/outputs/report.json").read_bytes(), type=WriteReport)
    assert kept.rows_in == 2


def test_sources_a_function_names_are_read_by_the_platform_and_local_folders_sent(
    platform: Platform, stand_in: StandIn, code: Path
) -> None:
    for name in ("cats/a.png", "dogs/a.png"):
        (code / "images" / name).parent.mkdir(parents=True)
        (code / "images" / name).write_bytes(b"\x89PNG")
    execute_ingestion(platform, task("places"), code)

    assert zipfile.ZipFile(io.BytesIO(stand_in.uploads["images.zip"])).namelist() == ["cats/a.png", "dogs/a.png"]
    derived = stand_in.ingestions["daily.sources"]
    assert [source.url.partition("://")[0] for source in derived.sources] == ["upload", "https"]
    assert derived.sources[0].format == "images"
    assert stand_in.executed == ["daily.sources"]


def test_declared_sources_are_read_by_the_platform(platform: Platform, stand_in: StandIn, folder: Path) -> None:
    spec = IngestionSpec(project="p", name="daily", table="rows")
    execute_ingestion(platform, {"ingestion": msgspec.to_builtins(spec)}, folder)

    assert stand_in.executed == ["daily"]


def test_what_an_ingestion_raises_is_told_with_file_and_line(platform: Platform, code: Path) -> None:
    with pytest.raises(UserError, match=r"broken\(\) raised at ingest_code.py:\d+: FileNotFoundError"):
        execute_ingestion(platform, task("broken"), code)


@pytest.mark.parametrize(
    "returned",
    [pa.table({"a": [1]}), pa.record_batch({"a": [1]}), [{"a": 1}], {"a": [1]}],
    ids=["table", "batch", "dicts", "columns"],
)
def test_rows_come_in_several_forms(returned: Any) -> None:
    assert as_table(returned).to_pylist() == [{"a": 1}]


@pytest.mark.parametrize("returned", [None, 7, "text", [1, 2], {"a": 1}])
def test_what_is_no_rows_is_refused_by_its_class(returned: Any) -> None:
    with pytest.raises(InvalidValue, match=f"the function returned a {type(returned).__qualname__}"):
        as_table(returned)


def test_rows_whose_values_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidValue, match="are no table"):
        as_table([{"a": 1}, {"a": "text"}])
