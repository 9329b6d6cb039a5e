"""What is kept about feature views: their definitions, and which state of each lies in the online store."""

from sill.core.values import Value
from sill.features.types import FeatureView
from sill.stores.database import Documents


class Materialization(Value, frozen=True, kw_only=True):
    """The state of a view that was put into the online store last."""

    project: str
    name: str
    namespace: str
    snapshot_id: int
    entities: int
    at_us: int
    revision: int = 0


VIEWS: Documents[FeatureView] = Documents("feature_views", FeatureView, columns=("table",), noun="feature view")
MATERIALIZATIONS: Documents[Materialization] = Documents("materializations", Materialization)
