"""One flipped bit in anything that is kept: reading it is an error that names it, never data."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sill.core.errors import Damaged, SillError
from sill.runs.types import RunSpec
from sill.sdk.lake import Tables
from sill.sdk.models import Models
from sill.sdk.runs import Runs
from sill.sdk.sources import Sources
from sill.sdk.traffic import Traffic
from sill.testing.control_plane import ControlPlane
from sill.testing.furnish import ENDPOINT, MODEL, SMALL, TABLE, Furnished, furnish

SEED = 20_26
FLIPS = 60


@dataclass(frozen=True)
class Kept:
    """A file of the home, the names an error may know it by, and how it is read through the API."""

    kind: str
    path: Path
    names: tuple[str, ...]
    read: Callable[[], object]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    plane = ControlPlane(tmp_path_factory.mktemp("flips") / "home")
    try:
        plane.start()
        yield furnish(plane)
    finally:
        plane.stop()


def everything(house: Furnished) -> list[Kept]:
    """Every file that the API can be asked for."""
    return [*blobs(house), *table_files(house, TABLE), *table_files(house, f"requests_{ENDPOINT}")]


def blobs(house: Furnished) -> list[Kept]:
    client, version = house.client, house.version
    runs, models = Runs(client), Models(client)

    def kept(kind: str, digest: str, read: Callable[[], object]) -> Kept:
        return Kept(kind, house.blobs / "blobs" / digest[:2] / digest[2:4] / digest[4:], (digest, kind), read)

    return [
        kept("upload", house.upload.digest, lambda: Sources(client).preview(house.upload.url)),
        kept("result.bin", house.artifact.digest, lambda: runs.artifact(house.run.id, "result.bin")),
        kept("model.onnx", version.spec.files["model.onnx"], lambda: models.file(MODEL, 1, "model.onnx")),
        kept("card.md", version.spec.files["card.md"], lambda: models.card(MODEL, 1)),
        kept("manifest.json", version.manifest, lambda: models.file(MODEL, 1, "manifest.json")),
    ]


def table_files(house: Furnished, table: str) -> list[Kept]:
    """Data, manifests, lists of manifests, the metadata of now, and the digests kept beside them."""
    tables = Tables(house.client)
    at = tables.get(table)
    snapshots = [one.id for one in tables.snapshots(table)]

    def read() -> None:
        for snapshot in snapshots:
            tables.rows(table, snapshot=snapshot)

    found = []
    for path in sorted((house.blobs / "named" / at.location).rglob("*.*")):
        if path.suffix == ".json" and not at.metadata_url.endswith(path.name):
            continue  # states of before: kept for the history, and read by nobody
        sums = house.blobs / "sums" / path.relative_to(house.blobs / "named")
        found += [Kept(path.suffix, path, (path.name,), read)]
        found += [Kept("digest", sums.with_name(f"{path.name}.sha256"), (path.name,), read)]
    return found


def flip(path: Path, dice: random.Random) -> bytes:
    """Turn one bit around; returns what was there before."""
    sound = path.read_bytes()
    broken = bytearray(sound)
    broken[dice.randrange(len(sound))] ^= 1 << dice.randrange(8)
    path.write_bytes(broken)
    return sound


def test_a_flipped_bit_is_an_error_that_names_the_object(house: Furnished) -> None:
    dice, every = random.Random(SEED), everything(house)
    kinds = sorted({one.kind for one in every})
    for number in range(FLIPS):
        kind = kinds[number % len(kinds)]
        one = dice.choice([other for other in every if other.kind == kind])
        one.read()
        sound = flip(one.path, dice)
        try:
            with pytest.raises(Damaged) as told:
                one.read()
            assert any(name in told.value.message for name in one.names), f"seed {SEED}: {one} was told as {told.value}"
        finally:
            one.path.write_bytes(sound)
        one.read()


def test_damaged_code_is_not_run(house: Furnished) -> None:
    runs, digest = Runs(house.client), house.code.digest
    sound = flip(house.blobs / "blobs" / digest[:2] / digest[2:4] / digest[4:], random.Random(SEED))
    try:
        run = runs.submit(RunSpec(name="again", command=("python", "job.py"), code=digest, resources=SMALL))
        assert "hello" not in "".join(runs.follow(run.id))
        assert digest in runs.why(run.id).text
    finally:
        (house.blobs / "blobs" / digest[:2] / digest[2:4] / digest[4:]).write_bytes(sound)


def bundled(house: Furnished, path: str) -> Path:
    """A file of the model version, in the inference plane's own copy."""
    files = {**house.version.spec.files, "manifest.json": house.version.manifest}
    return house.plane.home / "inference" / "bundles" / files[path]


def said_by(house: Furnished) -> str:
    """What the inference plane says when it is asked."""
    traffic = Traffic(house.client)
    try:
        return str(traffic.infer(ENDPOINT, {"age": 1.0, "income": 2.0}).prediction)
    except SillError as told:
        return f"{told.code}: {told.message}"
    finally:
        traffic.close()


def until_said(house: Furnished, words: str) -> None:
    until_s = time.monotonic() + 30.0
    while words not in (last := said_by(house)):
        assert time.monotonic() < until_s, f"{words!r} is wanted, it says {last!r}"
        time.sleep(0.1)


@pytest.mark.parametrize("path", ["model.onnx", "card.md", "manifest.json"])
def test_a_damaged_bundle_is_fetched_again(house: Furnished, path: str) -> None:
    sound = flip(bundled(house, path), random.Random(SEED))
    house.plane.end_inference()

    until_said(house, "3.0")
    assert bundled(house, path).read_bytes() == sound


def test_a_bundle_that_is_damaged_everywhere_answers_nothing(house: Furnished) -> None:
    digest = house.version.spec.files["model.onnx"]
    central = house.blobs / "blobs" / digest[:2] / digest[2:4] / digest[4:]
    dice = random.Random(SEED)
    sound = flip(central, dice)
    flip(bundled(house, "model.onnx"), dice)
    house.plane.end_inference()

    until_said(house, "damaged: ")
    assert "model.onnx" in said_by(house)
    central.write_bytes(sound)
    house.plane.end_inference()
    until_said(house, "3.0")


def test_a_damaged_bundle_answers_nothing_while_the_control_plane_is_away(house: Furnished) -> None:
    flip(bundled(house, "model.onnx"), random.Random(SEED))
    house.plane.kill()
    house.plane.end_inference()
    with house.plane.inference_alone():
        until_said(house, "model.onnx of spend/1 is damaged here")

    house.plane.start()
    until_said(house, "3.0")
