"""A registry with all it stands on, in a folder of its own: for tests of the stages from models on."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sill.core.clock import Clock, Ids
from sill.core.settings import Settings
from sill.governance.service import Governance
from sill.models.service import Models
from sill.models.types import VersionSpec
from sill.runs.training.types import Evaluation, GateSpec
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.secrets import SecretBox
from sill.safety.signing import Signer
from sill.safety.tokens import digest
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.database import Database, metadata, open_database
from sill.stores.log import Log


@dataclass(frozen=True)
class Platform:
    """Stores, governance and registry. Make it inside the running event loop."""

    database: Database
    log: Log
    blobs: Blobs
    governance: Governance
    models: Models
    clock: Clock
    ids: Ids

    def spec(self, model: str = "churn", *, files: dict[str, bytes] | None = None, **fields: Any) -> VersionSpec:
        """A version that could be registered: a linear model of two features, its files uploaded."""
        content = {"model.onnx": linear_onnx(), "card.md": b"# churn"} | (files or {})
        given: dict[str, Any] = {"evaluation": evaluation(), "gate": GateSpec()} | fields
        return VersionSpec(
            model=model,
            files={path: self.blobs.put_bytes(data) for path, data in content.items()},
            signature=Signature(
                inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 2)),),
                outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 1)),),
                features=("age", "income"),
                classes=("no", "yes"),
            ),
            **given,
        )


@contextmanager
def open_platform(home: Path, clock: Clock, database_url: str = "") -> Iterator[Platform]:
    """A platform in `home`, on SQLite unless another database is given."""
    settings = Settings(home=home, database_url=database_url)
    database = open_database(settings.database, clock)
    try:
        with database.engine.begin() as connection:
            metadata.create_all(connection)
        log, ids, blobs = Log(database), Ids(clock), open_blobs(settings)
        box, signer = SecretBox(home / "keys" / "master.key"), Signer(home / "keys" / "signing.key")
        governance = Governance(database, log, clock, ids, box, root_digest=digest("root"))
        models = Models(database, blobs, clock, signer, governance)
        yield Platform(database, log, blobs, governance, models, clock, ids)
    finally:
        database.close()


def evaluation(auc: float = 0.9, **fields: Any) -> Evaluation:
    """An evaluation on 200 held-out rows."""
    given: dict[str, Any] = {
        "metric": "auc",
        "rows": 200,
        "metrics": {"auc": auc, "accuracy": 0.9},
        "latency_ms_p99": 1.0,
    }
    return Evaluation(**(given | fields))


def against(incumbent: int, delta: float, *, width: float = 0.01, **fields: Any) -> Evaluation:
    """An evaluation beside an incumbent of AUC 0.9; `delta` better, with an interval of `width` on both sides."""
    return evaluation(
        0.9 + delta,
        incumbent_version=incumbent,
        incumbent_metrics={"auc": 0.9},
        delta=delta,
        delta_low=delta - width,
        delta_high=delta + width,
        **fields,
    )


def linear_onnx(weight: float = 1.0) -> bytes:
    """A model of two features: `output = weight * (age + income)`."""
    from onnx import TensorProto, helper

    one = helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [weight, weight])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["output"])],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1])],
        [one],
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


def parquet(columns: dict[str, list[Any]]) -> bytes:
    """Columns as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = io.BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()
