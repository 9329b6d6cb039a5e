"""Prices what was used, keeps it, and adds it up."""

from collections.abc import Sequence

from sqlalchemy import Connection

from sill.core.accelerators import AcceleratorType
from sill.core.actors import Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import InvalidValue
from sill.core.settings import Settings
from sill.costs import rules, store
from sill.costs.rapl import Rapl
from sill.costs.types import Cost, CostReport, MeterRecord, Usage
from sill.governance.rules import require
from sill.stores.database import Database, Tx


class Costs:
    """Money, energy and carbon of everything that runs.

    Args:
        accelerators: kinds of devices here, with their prices and power.
        rapl: the machine's energy meter; by default the one the kernel shows, if it does.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        settings: Settings,
        *,
        accelerators: Sequence[AcceleratorType] = (),
        rapl: Rapl | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._accelerators = {kind.name: kind for kind in accelerators}
        self._rapl = rapl or Rapl()
        self._rapl.sample_forever()

    def price(self, usage: Usage) -> Cost:
        """What the use comes to: energy measured where the machine can, modelled and labelled so where it cannot."""
        kind = self._accelerators.get(usage.accelerator)
        return rules.price(usage, self._settings, measured_wh=self._rapl.wh(usage.cpu_s), accelerator=kind)

    def record(self, tx: Tx, project: str, kind: str, subject: str, usage: Usage, predictions: int = 0) -> MeterRecord:
        """Price a use and keep it, in the transaction of whoever ended it.

        Args:
            kind: `run` or `endpoint`.
            subject: id or name of what used it.
        """
        record = self._record(tx, project, kind, subject, usage, predictions)
        store.add_records(tx, [record])
        return record

    def record_many(self, tx: Tx, uses: Sequence[tuple[str, str, str, Usage]]) -> list[Cost]:
        """`record` for several uses, (project, kind, subject, usage) of each; what each came to."""
        records = [self._record(tx, *use, 0) for use in uses]
        store.add_records(tx, records)
        return [record.cost for record in records]

    def _record(self, tx: Tx, project: str, kind: str, subject: str, usage: Usage, predictions: int) -> MeterRecord:
        return MeterRecord(
            id=self._ids.new("use"),
            project=project,
            kind=kind,
            subject=subject,
            at_us=tx.now_us,
            cost=self.price(usage),
            predictions=predictions,
            revision=1,
        )

    def spent(self, connection: Connection, since_us: int) -> dict[str, tuple[float, float, float]]:
        """What each project has come to since then: US dollars, watt-hours, grams. For budgets, not for a person."""
        return store.by_project(connection, since_us)

    async def report(self, actor: Actor, project: str, *, since_us: int = 0, until_us: int = 0) -> CostReport:
        """Totals of a project, and of each run and endpoint in it (the 1,000 dearest).

        Args:
            until_us: 0 means now.
        Raises:
            InvalidValue: the time span ends before it starts.
        """
        require(actor, "costs:read", project)
        end_us = until_us or self._clock.now_us() + 1
        if not 0 <= since_us <= end_us:
            raise InvalidValue(f"the span from {since_us} to {end_us} is not one.", field="since_us")
        found = await self._database.read(lambda connection: store.sums(connection, project, since_us, end_us))
        by_subject: dict[str, list[Cost]] = {}
        for subject, cost, _ in found:
            if subject in by_subject or len(by_subject) < store.SUBJECTS_MAX:
                by_subject.setdefault(subject, []).append(cost)
        return CostReport(
            project=project,
            since_us=since_us,
            until_us=end_us,
            total=rules.add(cost for _, cost, _ in found),
            predictions=sum(predictions for *_, predictions in found),
            by_subject={subject: rules.add(costs) for subject, costs in by_subject.items()},
        )
