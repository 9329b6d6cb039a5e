"""Files are kept by path with whom they belong to, come back whole or in part, and go when they are deleted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import Conflict, InvalidValue, NotFound, RangeInvalid, Refused, SillError
from sill.runs.tracking import artifacts as module
from sill.runs.tracking.places import Place, VersionPlace, place_of
from sill.runs.tracking.uploads import Uploads
from sill.runs.types import ByteRange, Run
from sill.stores.blobs.sweeping import Sweeper

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run(host: Any, ada: Actor, program: Any) -> Run:
    return await host.runs.submit(ada, "p", program())  # type: ignore[no-any-return]


@pytest.fixture
def uploads(host: Any) -> Uploads:
    ids = Ids(host.database.clock)
    return Uploads(host.database, host.blobs, ids, host.artifacts, Sweeper(host.database, host.blobs))


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def read(host: Any, actor: Actor, owner: str, path: str, part: ByteRange | None = None) -> bytes:
    found = await host.artifacts.find(actor, "p", owner, path)
    return b"".join([piece async for piece in await host.artifacts.open(found, part)])


async def test_artifacts_are_listed_by_folder_and_page(host: Any, ada: Actor, run: Run) -> None:
    for path in ("a/1", "a/2", "b"):
        await host.artifacts.put(ada, "p", run.id, path, chunks(path.encode()))
    page = await host.artifacts.list(ada, "p", run.id, limit=2)

    assert [found.path for found in page.items] == ["a/1", "a/2"]
    assert [found.path for found in (await host.artifacts.list(ada, "p", run.id, after=page.next)).items] == ["b"]
    assert len((await host.artifacts.list(ada, "p", run.id, under="a")).items) == 2


async def test_a_folder_shows_what_lies_right_in_it(
    host: Any, ada: Actor, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sill.runs.tracking.artifact_store.ROWS_AT_ONCE", 2)
    for path in ("a/1", "a/2", "a/3", "a/b/c", "a.txt", "a0", "z/y/x"):
        await host.artifacts.put(ada, "p", run.id, path, chunks(path.encode()))

    top = await host.artifacts.children(ada, "p", run.id)
    below = await host.artifacts.children(ada, "p", run.id, "a")
    assert [(one.path, one.is_folder, one.size_bytes) for one in top] == [
        ("a.txt", False, 5),
        ("a", True, 0),
        ("a0", False, 2),
        ("z", True, 0),
    ]
    assert [one.path for one in below] == ["a/1", "a/2", "a/3", "a/b"]
    assert await host.artifacts.children(ada, "p", run.id, "none") == ()


async def test_an_artifact_comes_back_as_it_was_last_and_what_it_was_before_is_freed(
    host: Any, ada: Actor, run: Run
) -> None:
    old = await host.artifacts.put(ada, "p", run.id, "m.bin", chunks(b"old"))
    await host.artifacts.put(ada, "p", run.id, "m.bin", chunks(b"new"))

    assert await read(host, ada, run.id, "m.bin") == b"new"
    assert not host.blobs.exists(old.digest)


async def test_a_range_is_that_part_and_nothing_beyond(host: Any, ada: Actor, run: Run) -> None:
    await host.artifacts.put(ada, "p", run.id, "m", chunks(b"0123456789"))

    assert await read(host, ada, run.id, "m", ByteRange(start=3, end=7)) == b"3456"
    with pytest.raises(RangeInvalid):
        await read(host, ada, run.id, "m", ByteRange(start=3, end=11))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a\\b", "", ".", "a\0", "x" * 2000, "a/../../b"])
async def test_a_path_that_climbs_is_refused(host: Any, ada: Actor, run: Run, path: str) -> None:
    with pytest.raises(InvalidValue):
        await host.artifacts.put(ada, "p", run.id, path, chunks(b""))
    with pytest.raises(InvalidValue):
        await host.artifacts.find(ada, "p", run.id, path)


async def test_a_file_is_no_folder_and_a_folder_no_file(host: Any, ada: Actor, run: Run) -> None:
    await host.artifacts.put(ada, "p", run.id, "a/b", chunks(b"1"))

    for path in ("a", "a/b/c"):
        with pytest.raises(InvalidValue, match="cannot be a file"):
            await host.artifacts.put(ada, "p", run.id, path, chunks(b"2"))


async def test_deleting_a_folder_leaves_its_neighbours_and_frees_what_nothing_else_uses(
    host: Any, ada: Actor, run: Run
) -> None:
    for path in ("a/1", "a/2", "a0", "b"):
        await host.artifacts.put(ada, "p", run.id, path, chunks(path.encode()))
    await host.artifacts.put(ada, "p", run.id, "same", chunks(b"a/1"))
    gone = await host.artifacts.delete(ada, "p", run.id, "a")

    assert (gone.files, gone.bytes_freed) == (2, 3)
    assert [one.path for one in (await host.artifacts.list(ada, "p", run.id)).items] == ["a0", "b", "same"]
    with pytest.raises(NotFound):
        await host.artifacts.delete(ada, "p", run.id, "a")


async def test_another_tenants_and_nobodys_artifacts_are_not_there(host: Any, ada: Actor, run: Run) -> None:
    await host.artifacts.put(ada, "p", run.id, "m", chunks(b""))

    for project, owner in (("q", run.id), ("p", "run-00000000"), ("p", "m-1"), ("p", "tr-1"), ("p", "what")):
        with pytest.raises(NotFound):
            await host.artifacts.find(ada, project, owner, "m")
        with pytest.raises(NotFound):
            await host.artifacts.put(ada, project, owner, "m", chunks(b""))


async def test_another_runs_job_writes_nothing(host: Any, run: Run) -> None:
    job = Actor(id="job:run-00000000", scopes=frozenset({"runs:write"}), projects=frozenset({"p"}))
    with pytest.raises(Exception, match="may not write to run"):
        await host.artifacts.put(job, "p", run.id, "m", chunks(b""))


async def test_what_belongs_to_the_project_lies_beside_the_runs(host: Any, ada: Actor, run: Run) -> None:
    await host.artifacts.put(ada, "p", "", "shared/x", chunks(b"1"))
    await host.artifacts.put(ada, "p", run.id, "x", chunks(b"2"))

    assert [one.path for one in await host.artifacts.children(ada, "p", "")] == ["shared"]
    with pytest.raises(InvalidValue, match="root"):
        await host.artifacts.delete(ada, "p", "")


async def test_an_owner_has_a_bound(host: Any, ada: Actor, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ARTIFACTS_MAX", 1)
    await host.artifacts.put(ada, "p", run.id, "a", chunks(b""))

    with pytest.raises(Refused):
        await host.artifacts.put(ada, "p", run.id, "b", chunks(b""))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("0/run-00000001/artifacts/a/b", Place("run-00000001", "a/b")),
        ("0/run-00000001/artifacts", Place("run-00000001", "")),
        ("some/where/run-00000001/artifacts/a/", Place("run-00000001", "a")),
        ("0/models/m-0a1B/artifacts/MLmodel", Place("m-0a1B", "MLmodel")),
        ("0/traces/tr-0a1b/artifacts/spans", Place("tr-0a1b", "spans")),
        ("models/My Model/3/model.onnx", VersionPlace("My Model", 3, "model.onnx")),
        ("models/churn", Place("", "models/churn")),
        ("dir/a.txt", Place("", "dir/a.txt")),
        ("", Place("", "")),
    ],
)
async def test_a_path_at_the_proxy_leads_to_one_owner(path: str, place: object) -> None:
    assert place_of(path) == place


async def test_parts_in_any_order_become_one_file(host: Any, ada: Actor, run: Run, uploads: Uploads) -> None:
    upload = await uploads.begin(ada, "p", run.id, "big", 3)
    parts = [await uploads.put_part(ada, "p", upload.id, n, chunks(bytes([n]) * 1000)) for n in (3, 1, 2)]
    made = await uploads.complete(ada, "p", upload.id, "big", tuple((part.number, part.digest) for part in parts))

    assert (made.size_bytes, await read(host, ada, run.id, "big")) == (
        3000,
        b"".join(bytes([n]) * 1000 for n in (1, 2, 3)),
    )
    assert [host.blobs.exists(part.digest) for part in parts] == [False] * 3


async def test_an_upload_that_lacks_a_part_makes_nothing(host: Any, ada: Actor, run: Run, uploads: Uploads) -> None:
    upload = await uploads.begin(ada, "p", run.id, "big", 2)
    part = await uploads.put_part(ada, "p", upload.id, 1, chunks(b"1"))

    with pytest.raises(Conflict):
        await uploads.complete(ada, "p", upload.id, "big", ((1, part.digest),))
    with pytest.raises(InvalidValue):
        await uploads.put_part(ada, "p", upload.id, 3, chunks(b"3"))
    assert (await host.artifacts.list(ada, "p", run.id)).items == ()


async def test_an_upload_given_up_frees_its_parts_and_is_its_makers_alone(
    host: Any, ada: Actor, run: Run, uploads: Uploads
) -> None:
    upload = await uploads.begin(ada, "p", run.id, "big", 1)
    part = await uploads.put_part(ada, "p", upload.id, 1, chunks(b"1"))
    eve = Actor(id="eve", scopes=frozenset({"*"}))

    with pytest.raises(NotFound):
        await uploads.abort(eve, "p", upload.id)
    await uploads.abort(ada, "p", upload.id)
    assert not host.blobs.exists(part.digest)
    with pytest.raises(SillError):
        await uploads.put_part(ada, "p", upload.id, 1, chunks(b"1"))
