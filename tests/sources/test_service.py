"""Uploads, previews, declared ingestions: whose they are, and what is refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, TooLarge
from sill.sources.service import Sources
from sill.sources.types import IngestionSpec, Source, Unit

ROOT = Actor(id="root", scopes=frozenset({"*"}))
Upload = Callable[..., Any]


@pytest.mark.anyio
async def test_an_upload_is_a_source(sources: Sources, upload: Upload) -> None:
    url = await upload("my data ü.csv", b"a,b\n1,2\n")
    table = await asyncio.to_thread(sources.read, ROOT, "churn", Source(url=url))
    assert table.to_pylist() == [
        {"a": 1, "b": 2, "_source": f"{url.rpartition('/')[0]}/my data ü.csv", "_source_row": 1}
    ]


@pytest.mark.anyio
async def test_an_upload_of_another_project_is_not_found(sources: Sources, upload: Upload) -> None:
    url = await upload("a.csv", b"a,b\n1,2\n", project="other")
    for wanted in (url, f"upload://{'0' * 64}/a.csv"):
        with pytest.raises(NotFound, match="no upload"):
            await asyncio.to_thread(sources.read, ROOT, "churn", Source(url=wanted))


@pytest.mark.anyio
async def test_nothing_is_left_in_the_workspace(sources: Sources, upload: Upload, tmp_path: Any) -> None:
    url = await upload("a.csv", b"a,b\n1,2,3\n")
    with pytest.raises(InvalidValue):
        await asyncio.to_thread(sources.read, ROOT, "churn", Source(url=url))
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\\b", "a\nb", "x" * 201, ".."])
async def test_a_bad_file_name_is_refused(upload: Upload, name: str) -> None:
    with pytest.raises(InvalidValue, match="file name"):
        await upload(name, b"a\n")


@pytest.mark.anyio
async def test_an_upload_past_the_limit_is_refused(make_sources: Callable[..., Sources]) -> None:
    async def body() -> Any:
        yield b"x" * 2_000

    with pytest.raises(TooLarge):
        await make_sources(upload_bytes_max=1_000).upload(ROOT, "churn", "a.csv", body())


@pytest.mark.anyio
async def test_a_preview_shows_what_was_unified(sources: Sources, upload: Upload) -> None:
    url = await upload("a.csv", "Full Name;Größe (cm)\nAda;170,5\nBob;\n".encode("cp1252"))
    found = await sources.preview(ROOT, "churn", Source(url=url), rows=1)
    assert [(c.name, c.type, c.original, c.missing) for c in found.columns[:2]] == [
        ("full_name", "string", "Full Name", 0),
        ("grosse_cm", "double", "Größe (cm)", 1),
    ]
    assert (found.rows_total, len(found.rows), found.rows[0]["grosse_cm"]) == (2, 1, 170.5)
    assert any("cp1252" in note for note in found.notes)
    assert msgspec.json.encode(found)


@pytest.mark.anyio
async def test_gather_aligns_sources_of_different_formats(sources: Sources, upload: Upload) -> None:
    first = await upload("a.csv", b"Patient;Radius\n1;1,5\n2;15000\n")
    second = await upload("b.jsonl", b'{"patient_no": "3", "radius": 2, "when": "2024-01-01"}\n')
    spec = IngestionSpec(
        project="churn",
        name="load",
        table="patients",
        sources=(
            Source(url=first, units=(Unit(column="radius", scale=0.001, above=1_000),)),
            Source(url=second, rename={"patient_no": "patient"}),
        ),
    )
    table = await asyncio.to_thread(sources.gather, ROOT, "churn", spec)
    assert table.column_names == ["patient", "radius", "when", "_source", "_source_row"]
    assert table.column("patient").to_pylist() == [1, 2, 3]
    assert table.column("radius").to_pylist() == [1.5, 15.0, 2.0]
    assert table.column("_source").to_pylist() == [first, first, second]


SPEC = IngestionSpec(
    project="churn", name="load", table="customers", sources=(Source(url="s3://crm/customers/*.csv"),), every="1h"
)


@pytest.mark.anyio
async def test_an_ingestion_is_declared_changed_listed_and_deleted(sources: Sources) -> None:
    first = await sources.declare(ROOT, SPEC)
    assert (first.revision, await sources.declare(ROOT, SPEC)) == (1, first)
    second = await sources.declare(ROOT, msgspec.structs.replace(SPEC, every="0 3 * * *"))
    assert (await sources.ingestions(ROOT, "churn")).items == (second,)
    with pytest.raises(Conflict):
        await sources.declare(ROOT, msgspec.structs.replace(first, every="2h"))
    await sources.delete_ingestion(ROOT, "churn", "load")
    with pytest.raises(NotFound):
        await sources.ingestion(ROOT, "churn", "load")


def source(**change: Any) -> dict[str, Any]:
    return {"sources": (Source(**{"url": "s3://crm/a.csv", **change}),)}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ()}, "neither sources nor a function"),
        ({"function": "load"}, "both sources and a function"),
        ({"every": "* * * * * *"}, "five cron fields"),
        ({"every": "1s"}, "at least 10 seconds"),
        ({"every": "61 * * * *"}, "not a cron expression"),
        ({"name": "../x"}, "not a name"),
        (source(url="file:///etc/passwd"), "is not read"),
        (source(url="/etc/passwd"), "is not read"),
        (source(url="ftp://x/y"), "is not read"),
        (source(url="s3://../x"), "not an object address"),
        (source(url="s3://crm/../x"), "not an object address"),
        (source(url="upload://abc/x"), "not an upload"),
        (source(url="mysql://u@h/d", query="select 1"), "is not read"),
        (source(url="postgresql://u:hunter2@h/d", query="select 1"), "has a password in it"),
        (source(url="postgresql://u@h/d?options=-c%20x", query="select 1"), "is not allowed"),
        (source(url="postgresql://u@h/d?host=/var/run", query="select 1"), "is not allowed"),
        (source(url="postgresql://u@/d", query="select 1"), "one host name"),
        (source(url="postgresql://u@h/d", query="drop table x"), "not a SELECT"),
        (source(url="postgresql://u@h/d"), "not a SELECT"),
        (source(url="https://x.example/{secret}"), "`secret` names none"),
        (source(time_zone="Mars/Base"), "time_zone 'Mars/Base'"),
        (source(time_zone="../etc/passwd"), "time_zone"),
        (source(rename={"a": "b c"}), "not a column name"),
        (source(decimal="x"), "decimal 'x'"),
        (source(time_format="%Y"), "`times` names no column"),
    ],
)
async def test_an_ingestion_that_cannot_work_is_refused(sources: Sources, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        await sources.declare(ROOT, msgspec.structs.replace(SPEC, **change))
    assert "hunter2" not in str(caught.value)
    assert (await sources.ingestions(ROOT, "churn")).items == ()


@pytest.mark.anyio
async def test_naming_a_secret_takes_the_right_to_secrets(sources: Sources) -> None:
    writer = Actor(id="writer", scopes=frozenset({"data:*"}), projects=frozenset({"churn"}))
    secret = Source(url="https://x.example/{secret}", secret="token")
    with pytest.raises(Forbidden):
        await sources.preview(writer, "churn", secret)
    with pytest.raises(Forbidden):
        await sources.declare(writer, msgspec.structs.replace(SPEC, sources=(secret,)))


@pytest.mark.anyio
async def test_a_reader_may_not_upload_nor_declare(sources: Sources, upload: Upload) -> None:
    reader = Actor(id="reader", scopes=frozenset({"data:read"}), projects=frozenset({"churn"}))
    with pytest.raises(Forbidden):
        await upload("a.csv", b"a\n1\n", actor=reader)
    with pytest.raises(Forbidden):
        await sources.declare(reader, SPEC)
    with pytest.raises(NotFound):
        await sources.ingestions(reader, "other")
