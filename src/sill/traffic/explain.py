"""From one answer back to its source rows: answer → revision → version → run → code, data → rows → files."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from msgspec.structs import replace

from sill.core.actors import PLATFORM
from sill.core.addresses import Address, parse_address
from sill.core.clock import iso
from sill.core.errors import InvalidValue, NotFound, SillError
from sill.costs.service import Costs
from sill.costs.types import Usage
from sill.endpoints.service import Endpoints
from sill.features.service import Features
from sill.features.types import FeatureView
from sill.lake.service import Lake
from sill.models.service import Models
from sill.models.types import ModelVersion
from sill.runs.service import Runs
from sill.runs.types import Run
from sill.stores.database import Database
from sill.traffic import store
from sill.traffic.types import Explanation, ExplanationLink, RequestRow

SOURCE_ROWS_MAX = 20
KEPT_FOR_TABLES = ("_source", "_source_row")

T = TypeVar("T")


class Explainer:
    """Walks the chain. A link that is gone (a deleted run, an expired snapshot) is said to be gone, not left out."""

    def __init__(
        self,
        database: Database,
        lake: Lake,
        features: Features,
        models: Models,
        runs: Runs,
        endpoints: Endpoints,
        costs: Costs,
    ) -> None:
        self._database = database
        self._lake = lake
        self._features = features
        self._models = models
        self._runs = runs
        self._endpoints = endpoints
        self._costs = costs

    async def explain(self, project: str, request_id: str) -> Explanation:
        """The chain of the newest live answer with this id.

        Raises:
            NotFound: the request is not in the index.
        """
        found = await self._database.read(lambda connection: store.by_ids(connection, project, [request_id]))
        answers = [one for one in found if not one.row.is_shadow]
        if not answers:
            raise NotFound(
                f"no recorded request {request_id[:80]!r} in project {project!r}.",
                fix=f"It may be a second too early, or among the older ones: the newest {store.ROWS_KEPT_MAX:,} are kept here.",
            )
        row, label = answers[-1].row, answers[-1].label
        chain = [_answer(row)]
        version = await _found(self._version(project, row))
        chain.append(_version(project, row, version))
        inputs = version.spec.inputs if version is not None else ()
        if version is not None and version.spec.run_id:
            run = await _found(self._runs.run(PLATFORM, project, version.spec.run_id))
            chain += _run(project, version.spec.run_id, run)
        addresses = [address for address in map(_address, inputs) if address is not None]
        chain += [_data(address) for address in addresses]
        rows = await self._source_rows(project, row, addresses)
        chain += _sources(rows)
        cost = self._costs.price(Usage(wall_s=row.latency_ms / 1e3, cpu_s=row.cpu_ms / 1e3))
        return Explanation(
            request=row,
            label=label or "",
            chain=tuple(map(_without_unknown, chain)),
            source_rows=tuple(rows),
            cost_usd=cost.usd,
            energy_wh=cost.energy_wh,
            carbon_g=cost.carbon_g,
        )

    async def _version(self, project: str, row: RequestRow) -> ModelVersion:
        endpoint = await self._endpoints.endpoint(PLATFORM, project, row.endpoint)
        return await self._models.version(PLATFORM, project, endpoint.model, row.model_version)

    async def _source_rows(self, project: str, row: RequestRow, addresses: list[Address]) -> list[dict[str, Any]]:
        """Rows of the views' tables about the request's entity, as they were when the model was trained."""
        snapshots = {address.name: int(address.version or 0) for address in addresses if address.kind == "tables"}
        for address in addresses:
            if address.kind != "features":
                continue
            view = await _found(self._features.view(PLATFORM, project, address.name))
            if view is None or not row.entity.keys() >= set(view.entity):
                continue
            rows = await _found(self._rows_of(project, view, row.entity, snapshots.get(view.table, 0)))
            if rows:
                return rows
        return []

    async def _rows_of(
        self, project: str, view: FeatureView, entity: dict[str, str], snapshot_id: int
    ) -> list[dict[str, Any]]:
        table = await self._lake.table(PLATFORM, project, view.table)
        types = {column.name: column.type for column in table.columns}
        where = {name: _typed(entity[name], types.get(name, "")) for name in view.entity}
        try:
            rows = await self._lake.scan(
                PLATFORM, project, view.table, snapshot_id=snapshot_id, where=where, limit=SOURCE_ROWS_MAX
            )
        except NotFound:  # the snapshot is gone: the rows as they are now
            rows = await self._lake.scan(PLATFORM, project, view.table, where=where, limit=SOURCE_ROWS_MAX)
        found: list[dict[str, Any]] = await asyncio.to_thread(rows.to_pylist)
        return [{name: _plain(value) for name, value in one.items()} for one in found]


async def _found(wanted: Awaitable[T]) -> T | None:
    """What is wanted, or None if it is gone."""
    try:
        return await wanted
    except (NotFound, InvalidValue):
        return None
    except SillError as damaged:
        if damaged.status >= 500:
            raise
        return None


def _without_unknown(link: ExplanationLink) -> ExplanationLink:
    """The link without facts nobody knows."""
    return replace(link, facts={name: value for name, value in link.facts.items() if value})


def _answer(row: RequestRow) -> ExplanationLink:
    facts = {
        "prediction": row.prediction,
        "score": "" if row.score is None else f"{row.score:.6g}",
        "at": iso(row.at_us),
        "status": str(row.status),
        "latency_ms": f"{row.latency_ms:.3f}",
        **{f"entity.{name}": value for name, value in row.entity.items()},
    }
    return ExplanationLink(what="answer", address=_at(row.project, "requests", row.request_id), facts=facts)


def _version(project: str, row: RequestRow, version: ModelVersion | None) -> ExplanationLink:
    facts = {"endpoint": row.endpoint, "revision": str(row.revision), "model_version": str(row.model_version)}
    if version is None:
        return ExplanationLink(
            what="model version",
            address=_at(project, "endpoints", row.endpoint, str(row.revision)),
            facts=facts | {"gone": "the model version was deleted"},
        )
    evaluation = version.spec.evaluation
    facts |= {
        "state": version.state.value,
        "manifest": version.manifest,
        "model": version.spec.files.get("model.onnx", ""),
    }
    facts |= {f"metric.{name}": f"{value:.6g}" for name, value in evaluation.metrics.items()}
    if version.gate_report is not None:
        facts["gate"] = version.gate_report.reason
    return ExplanationLink(
        what="model version", address=_at(project, "models", version.model, str(version.version)), facts=facts
    )


def _run(project: str, run_id: str, run: Run | None) -> list[ExplanationLink]:
    if run is None:
        return [
            ExplanationLink(what="run", address=_at(project, "runs", run_id), facts={"gone": "the run was deleted"})
        ]
    made = run.provenance
    code = made.code or run.spec.code
    links = [
        ExplanationLink(
            what="run",
            address=_at(project, "runs", run_id),
            facts={
                "name": run.name,
                "state": run.state.value,
                "seed": str(made.seed if made.seed is not None else run.spec.seed or ""),
                "python": made.python,
                "machine": made.machine,
                "environment": made.environment,
                "git_revision": made.git_revision,
            },
        )
    ]
    if code:
        links.append(ExplanationLink(what="code", address=_at(project, "code", code), facts={"digest": code}))
    return links


def _data(address: Address) -> ExplanationLink:
    names = {"tables": "snapshot", "features": "feature view", "endpoints": "feedback"}
    facts = {"name": address.name} | ({"version": address.version} if address.version else {})
    return ExplanationLink(what=names.get(address.kind, address.kind), address=str(address), facts=facts)


def _sources(rows: list[dict[str, Any]]) -> list[ExplanationLink]:
    """The files and addresses the rows came from, with the numbers of the rows."""
    places: dict[str, list[str]] = {}
    for row in rows:
        source, number = (row.get(name) for name in KEPT_FOR_TABLES)
        if source:
            places.setdefault(str(source), []).append(str(number))
    return [
        ExplanationLink(
            what="source", address=source, facts={"rows": ", ".join(numbers), "digest": _upload_digest(source)}
        )
        for source, numbers in places.items()
    ]


def _upload_digest(source: str) -> str:
    """The digest in `upload://DIGEST/NAME`; empty for other sources."""
    scheme, _, rest = source.partition("://")
    return rest.partition("/")[0] if scheme == "upload" else ""


def _address(text: str) -> Address | None:
    try:
        address = parse_address(text)
    except InvalidValue:
        return None
    return None if address.kind == "code" else address


def _at(project: str, kind: str, name: str, version: str = "") -> str:
    return str(Address(project=project, kind=kind, name=name, version=version))


def _typed(text: str, kind: str) -> Any:
    """An entity's value, which came as text, as the table's column has it."""
    try:
        if kind.startswith(("int", "long")):
            return int(text)
        return float(text) if kind.startswith(("float", "double")) else text
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """A value as JSON holds it."""
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
