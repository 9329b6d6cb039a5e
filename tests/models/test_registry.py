"""The registry: numbers, files, aliases, deletion."""

import asyncio
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import (
    Conflict,
    Damaged,
    Forbidden,
    InvalidValue,
    NotFound,
    Refused,
    SillError,
    UnsupportedType,
)
from sill.governance.types import Project
from sill.models.types import AliasChange, Approval, ModelVersion, VersionState
from sill.runs.training.types import GateSpec
from sill.runtimes.types import Signature, TensorSpec
from sill.testing.platform import Platform, against, linear_onnx

PROJECT = "default"
TENSOR = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))


async def register(platform: Platform, **fields: Any) -> ModelVersion:
    return await platform.models.register(PLATFORM, PROJECT, platform.spec(**fields))


def advance(platform: Platform) -> None:
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(1.0)


async def kinds(platform: Platform) -> list[str]:
    return [event.kind for event in await platform.log.after(0, kinds=("model.",))]


@pytest.mark.anyio
async def test_versions_are_numbered_without_gaps_however_many_register_at_once(platform: Platform) -> None:
    found = await asyncio.gather(*(register(platform) for _ in range(12)))

    assert sorted(version.version for version in found) == list(range(1, 13))
    assert (await platform.models.model(PLATFORM, PROJECT, "churn")).latest == 12


@pytest.mark.anyio
async def test_the_same_key_registers_once(platform: Platform) -> None:
    spec = platform.spec()

    first = await platform.models.register(PLATFORM, PROJECT, spec, key="k")
    again = await platform.models.register(PLATFORM, PROJECT, spec, key="k")

    assert first == again
    assert await kinds(platform) == ["model.created", "model.registered", "model.accepted"]


@pytest.mark.anyio
async def test_a_version_that_fails_its_gate_is_rejected_with_the_reason_in_the_event(platform: Platform) -> None:
    version = await register(platform, gate=GateSpec(minimum=0.99))

    event = (await platform.log.after(0, kinds=("model.rejected",)))[0]
    assert version.state is VersionState.REJECTED
    assert "at least 0.99" in event.data["reason"]


@pytest.mark.anyio
async def test_a_registration_is_judged_against_the_champion_of_that_moment(platform: Platform) -> None:
    await register(platform)
    await platform.models.set_alias(PLATFORM, PROJECT, "churn", "champion", AliasChange(version=1))

    assert (await register(platform)).state is VersionState.REJECTED
    assert (await register(platform, evaluation=against(1, 0.03))).state is VersionState.ACCEPTED


@pytest.mark.anyio
async def test_lineage_leads_from_a_version_to_its_run_and_its_snapshot(platform: Platform) -> None:
    source = f"sill://{PROJECT}/tables/customers/17"

    await register(platform, run_id="run-0123456789", inputs=(source,))

    graph = await platform.governance.lineage(PLATFORM, f"sill://{PROJECT}/models/churn/1", "up")
    assert {edge.source for edge in graph.edges} == {source, f"sill://{PROJECT}/runs/run-0123456789"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.", UnsupportedType),
        (b"PK\x03\x04 not a model", UnsupportedType),
        (linear_onnx()[:-20], InvalidValue),
        (b"", UnsupportedType),
    ],
    ids=["pickle", "zip", "cut", "empty"],
)
async def test_only_sound_onnx_is_registered(platform: Platform, content: bytes, error: type[SillError]) -> None:
    with pytest.raises(error):
        await register(platform, files={"model.onnx": content})

    assert await kinds(platform) == []


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["../x.md", "/etc/x.md", "a//b.md", "a\\b.md", ".hidden.md", "a\x00.md", "x" * 300])
async def test_paths_of_a_bundle_follow_a_grammar(platform: Platform, path: str) -> None:
    with pytest.raises(InvalidValue):
        await register(platform, files={path: b"x"})


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["model.pkl", "weights.pt", "x.joblib", "x.h5", "script.py"])
async def test_files_that_could_hold_code_are_refused(platform: Platform, path: str) -> None:
    with pytest.raises(UnsupportedType):
        await register(platform, files={path: b"x"})


@pytest.mark.anyio
async def test_a_file_that_was_not_uploaded_is_named(platform: Platform) -> None:
    spec = platform.spec(files={"bom.json": b"{}"})
    platform.blobs.delete(spec.files["bom.json"])

    with pytest.raises(InvalidValue, match=r"bom\.json"):
        await platform.models.register(PLATFORM, PROJECT, spec)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(inputs=(), outputs=(TENSOR,)),
        Signature(inputs=(TENSOR, TENSOR), outputs=(TENSOR,)),
        Signature(inputs=(TensorSpec(name="x", datatype="FLOAT", shape=(1,)),), outputs=(TENSOR,)),
        Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-2,)),), outputs=(TENSOR,)),
        Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(2**60,)),), outputs=(TENSOR,)),
        Signature(inputs=(TENSOR,), outputs=(TENSOR,), features=("a", "a")),
    ],
)
def test_signatures_that_cannot_be_are_refused(signature: Signature) -> None:
    from sill.models.bundle import check_signature

    with pytest.raises(InvalidValue):
        check_signature(signature)


@pytest.mark.anyio
async def test_a_file_is_handed_out_as_it_was_registered(platform: Platform) -> None:
    await register(platform)

    assert await platform.models.file(PLATFORM, PROJECT, "churn", 1, "model.onnx") == linear_onnx()
    assert await platform.models.card(PLATFORM, PROJECT, "churn", 1) == "# churn"
    assert b"signature" in await platform.models.file(PLATFORM, PROJECT, "churn", 1, "manifest.json")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["model.onnx", "manifest.json"])
async def test_a_flipped_bit_is_an_error_that_names_the_file(platform: Platform, path: str, tmp_path: Any) -> None:
    version = await register(platform)
    digest = version.manifest if path == "manifest.json" else version.spec.files[path]
    stored = next(found for found in (tmp_path / "blobs").rglob("*") if found.is_file() and digest[4:] in found.name)
    stored.chmod(0o600)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)

    with pytest.raises(Damaged, match=path):
        await platform.models.file(PLATFORM, PROJECT, "churn", 1, path)


@pytest.mark.anyio
async def test_of_two_promotions_at_once_one_wins(platform: Platform) -> None:
    for _ in range(3):
        await register(platform)
    await platform.models.set_alias(PLATFORM, PROJECT, "churn", "best", AliasChange(version=1, expected=0))

    results = await asyncio.gather(
        *(
            platform.models.set_alias(PLATFORM, PROJECT, "churn", "best", AliasChange(version=v, expected=1))
            for v in (2, 3)
        ),
        return_exceptions=True,
    )

    assert sorted(type(result).__name__ for result in results) == ["Conflict", "RegisteredModel"]


@pytest.mark.anyio
async def test_the_champion_must_be_accepted(platform: Platform) -> None:
    await register(platform, gate=GateSpec(minimum=0.99))

    with pytest.raises(Refused):
        await platform.models.set_alias(PLATFORM, PROJECT, "churn", "champion", AliasChange(version=1))


@pytest.mark.anyio
async def test_a_person_approves_once_and_a_run_never(platform: Platform) -> None:
    await register(platform, gate=GateSpec(approval=True))
    run = Actor(id="job:run-1", scopes=frozenset({"*"}))

    with pytest.raises(Forbidden):
        await platform.models.approve(run, PROJECT, "churn", 1, Approval(approved=True))
    approved = await platform.models.approve(PLATFORM, PROJECT, "churn", 1, Approval(approved=True, reason="fine"))
    with pytest.raises(Conflict):
        await platform.models.approve(PLATFORM, PROJECT, "churn", 1, Approval(approved=False))

    assert approved.state is VersionState.ACCEPTED
    assert await kinds(platform) == ["model.created", "model.registered", "model.awaiting", "model.accepted"]


@pytest.mark.anyio
async def test_deletion_frees_only_what_no_other_version_uses(platform: Platform) -> None:
    await register(platform, files={"notes.txt": b"first" * 100})
    second = await register(platform)

    freed = await platform.models.delete_version(PLATFORM, PROJECT, "churn", 1)

    assert freed.blobs == 2  # notes.txt and the manifest
    assert freed.size_bytes > 500
    assert await platform.models.file(PLATFORM, PROJECT, "churn", 2, "model.onnx")
    assert platform.blobs.exists(second.manifest)


@pytest.mark.anyio
async def test_a_version_in_use_is_not_deleted(platform: Platform) -> None:
    await register(platform)
    await platform.models.set_alias(PLATFORM, PROJECT, "churn", "champion", AliasChange(version=1))

    with pytest.raises(Conflict, match="alias 'champion'"):
        await platform.models.delete_version(PLATFORM, PROJECT, "churn", 1)


@pytest.mark.anyio
async def test_numbers_of_deleted_versions_are_not_given_again(platform: Platform) -> None:
    await register(platform)
    await platform.models.delete_version(PLATFORM, PROJECT, "churn", 1)

    advance(platform)
    assert (await register(platform)).version == 2


@pytest.mark.anyio
async def test_a_blob_that_went_while_a_version_was_being_registered_is_not_counted_on(platform: Platform) -> None:
    await register(platform)
    spec = platform.spec()
    await platform.models.delete_version(PLATFORM, PROJECT, "churn", 1)
    platform.blobs.put_bytes(linear_onnx())
    platform.blobs.put_bytes(b"# churn")

    with pytest.raises(Conflict, match="just deleted"):  # the clock stands: the removal may lie behind our look
        await platform.models.register(PLATFORM, PROJECT, spec)
    advance(platform)
    assert (await platform.models.register(PLATFORM, PROJECT, spec)).version == 2


@pytest.mark.anyio
async def test_another_tenants_models_are_not_there(platform: Platform) -> None:
    await platform.governance.create_project(PLATFORM, Project(project="other"))
    await register(platform)
    stranger = Actor(id="tok", scopes=frozenset({"*"}), projects=frozenset({"other"}))

    with pytest.raises(NotFound):
        await platform.models.version(stranger, PROJECT, "churn", 1)
    with pytest.raises(NotFound):
        await platform.models.register(stranger, "other", platform.spec(inputs=(f"sill://{PROJECT}/tables/t/1",)))


@pytest.mark.anyio
async def test_versions_are_listed_newest_first_in_pages(platform: Platform) -> None:
    for _ in range(12):
        await register(platform)

    first = await platform.models.versions(PLATFORM, PROJECT, "churn", limit=5)
    second = await platform.models.versions(PLATFORM, PROJECT, "churn", limit=5, after=first.next)

    assert [one.version for one in (*first.items, *second.items)] == list(range(12, 2, -1))
