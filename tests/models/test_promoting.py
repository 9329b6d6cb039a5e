"""A version that an MLflow client registered becomes one that can serve, or says why it cannot."""

import numpy as np
import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Forbidden, NotFound, Refused
from sill.models.inspecting import Inspections
from sill.models.placing import Placing
from sill.models.promoting import Promotions
from sill.models.registry import Registry
from sill.models.tracked import Tracked
from sill.models.types import ModelVersion, TrackedSpec, VersionState
from sill.stores.database import Tx
from sill.testing.platform import Platform

pytestmark = pytest.mark.anyio
PROJECT = "default"
AT = "0/run-00000001/artifacts/model"
XGBOOST = b"""flavors: {xgboost: {data: model.ubj}}
signature: {inputs: '[{"name": "age", "type": "double"}, {"name": "income", "type": "double"}]'}
"""


SAVED_MODEL = b"flavors: {tensorflow: {saved_model_dir: tf2model, model_type: tf2-module}}"


class Files:
    """Artifacts by path, as blobs."""

    def __init__(self, platform: Platform, kept: dict[str, bytes]) -> None:
        self._kept = kept
        self._digests = {path: platform.blobs.put_bytes(content) for path, content in kept.items()}

    async def excerpt(self, project: str, path: str, bytes_max: int) -> bytes | None:
        return self._kept.get(path)

    async def digest(self, project: str, path: str) -> str:
        return self._digests.get(path, "")

    async def digests(self, project: str, folder: str, count_max: int) -> dict[str, str]:
        below = {path: digest for path, digest in self._digests.items() if path.startswith(f"{folder}/")}
        return {path.removeprefix(f"{folder}/"): digest for path, digest in list(below.items())[:count_max]}


class Logged:
    """No logged models."""

    async def origin(self, project: str, model_id: str) -> tuple[str, str]:
        raise NotFound(f"no logged model {model_id!r}.")

    def note_version(self, tx: Tx, project: str, model_id: str, name: str, version: int) -> None: ...


def booster() -> bytes:
    import xgboost

    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, (x[:, 0] > 0).astype(int)), 2)
    return bytes(model.save_raw("ubj"))


async def tracked_version(platform: Platform, kept: dict[str, bytes]) -> tuple[Promotions, ModelVersion]:
    """A version with these files at its source, and what promotes it."""
    placing = Placing(
        platform.database, Files(platform, {f"{AT}/{path}": text for path, text in kept.items()}), Logged()
    )
    await Registry(platform.database, platform.models).create(PLATFORM, PROJECT, "M", tags={})
    tracked = Tracked(platform.database, platform.models, placing, Logged())
    made = await tracked.create(PLATFORM, PROJECT, TrackedSpec(model="M", source="runs:/run-00000001/model"))
    inspections = Inspections(platform.blobs, {})
    promotions = Promotions(platform.database, platform.clock, platform.models, placing, inspections)
    return promotions, made.version


async def test_a_promoted_version_has_a_signed_bundle_and_keeps_its_address(platform: Platform) -> None:
    promotions, before = await tracked_version(platform, {"MLmodel": XGBOOST, "model.ubj": booster()})
    assert before.loadable
    assert not before.may_serve

    made = await promotions.promote(PLATFORM, PROJECT, "M", 1)

    assert (made.may_serve, made.state, made.address) == (True, VersionState.TRACKED, before.address)
    assert made.spec.runtime == "xgboost"
    assert made.spec.signature.features == ("age", "income")
    assert await platform.models.file(PLATFORM, PROJECT, "M", 1, "model.ubj") == booster()
    assert await promotions.promote(PLATFORM, PROJECT, "M", 1) == made


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (
            {"MLmodel": b"flavors: {sklearn: {pickled_model: model.pkl}}", "model.pkl": b"x"},
            "serialization_format='skops'",
        ),
        ({"MLmodel": XGBOOST, "model.ubj": b"\x80\x04\x95junk."}, "pickle"),
        ({"MLmodel": b"flavors: {pytorch: {model_data: data}}", "data/model.pth": b"x"}, "serialization_format='pt2'"),
        ({"model.ubj": b"x"}, "no MLmodel"),
        ({"MLmodel": SAVED_MODEL, "data/model.keras": b"x"}, "a tf.Module with a signature"),
        ({"MLmodel": SAVED_MODEL, "tf2model/saved_model.pb": b"x", "tf2model/fingerprint.pb": b"x"}, "TensorFlow"),
    ],
)
async def test_what_cannot_serve_is_refused_and_says_why_from_then_on(
    platform: Platform, kept: dict[str, bytes], why: str
) -> None:
    promotions, _ = await tracked_version(platform, kept)

    with pytest.raises(Refused, match=why):
        await promotions.promote(PLATFORM, PROJECT, "M", 1)

    found = await platform.models.version(PLATFORM, PROJECT, "M", 1)
    assert not found.loadable
    assert why in found.loadable_reason


async def test_only_those_who_may_change_the_model_promote_it(platform: Platform) -> None:
    promotions, _ = await tracked_version(platform, {"MLmodel": XGBOOST, "model.ubj": booster()})

    with pytest.raises(Forbidden):
        await promotions.promote(Actor(id="tok-1", scopes=frozenset({"models:read"})), PROJECT, "M", 1)
