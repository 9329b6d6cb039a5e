"""A table that a view stands on is not deleted under it."""

from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict
from sill.features.service import Features
from sill.features.types import FeatureView
from sill.lake.service import Lake
from sill.lake.types import TableSpec

ROOT = Actor(id="root", scopes=frozenset({"*"}))


@pytest.mark.anyio
async def test_a_table_is_deleted_after_its_views(features: Features, lake: Lake) -> None:
    view: dict[str, Any] = {"project": "churn", "name": "orders", "entity": ("customer_id",), "table": "orders"}
    await lake.declare(ROOT, TableSpec(project="churn", name="orders"))
    await features.declare(ROOT, FeatureView(**view))

    with pytest.raises(Conflict, match="feature view 'orders'"):
        await lake.delete(ROOT, "churn", "orders")

    await features.delete(ROOT, "churn", "orders")
    assert (await lake.delete(ROOT, "churn", "orders")).tables == ("orders",)
