"""Apply: a project's declarations, made so in the order of the data's way. Applying twice changes nothing."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import check_name
from sill.endpoints.service import Endpoints
from sill.features.service import Features
from sill.governance.rules import require
from sill.governance.service import Governance
from sill.governance.types import Project
from sill.lake.service import Lake
from sill.monitors.service import Monitors
from sill.projects.types import ApplyReport, Change, ProjectSpec
from sill.runs.pipelines.service import Pipelines
from sill.runs.training.service import Trainings
from sill.sources.service import Sources
from sill.triggers.service import Triggers
from sill.triggers.types import TriggerKind, TriggerSpec

THINGS_MAX = 1_000
KEPT_BY_PLATFORM = {"revision", "created_us", "updated_us"}


class Projects:
    """Makes what a project declares so."""

    def __init__(
        self,
        governance: Governance,
        sources: Sources,
        lake: Lake,
        features: Features,
        trainings: Trainings,
        pipelines: Pipelines,
        endpoints: Endpoints,
        monitors: Monitors,
        triggers: Triggers,
    ) -> None:
        self._governance = governance
        self._sources = sources
        self._lake = lake
        self._features = features
        self._trainings = trainings
        self._pipelines = pipelines
        self._endpoints = endpoints
        self._monitors = monitors
        self._triggers = triggers

    async def apply(self, actor: Actor, spec: ProjectSpec) -> ApplyReport:
        """Declare everything the project names, from tables to triggers; report what was new or changed.

        Each thing is declared on its own: when one is refused, those before it stay and the error names the one.

        Raises:
            InvalidValue: a thing names another project, a name twice, or something that is not declared.
        """
        require(actor, "projects:write", spec.project)
        check_project(spec)
        await self._ensure_project(actor, spec)
        changes: list[Change] = []
        for kind, things, read, declare in self._steps(actor, spec):
            for thing in things:
                changes.append(await self._declare(actor, kind, thing, read, declare))
        changes += await self._remove_schedules(actor, spec)
        return ApplyReport(project=spec.project, changes=tuple(changes))

    async def _remove_schedules(self, actor: Actor, spec: ProjectSpec) -> list[Change]:
        """Forget the schedules of what is declared without `every` now: nobody would expect it to go on."""
        if all(each.every for _, each in _periodic(spec)):
            return []
        known = {each.name for each in await self._triggers.triggers(actor, spec.project)}
        gone = [
            schedule_name(kind, each)
            for kind, each in _periodic(spec)
            if not each.every and schedule_name(kind, each) in known
        ]
        for name in gone:
            await self._triggers.delete(actor, spec.project, name)
        return [Change(kind="trigger", name=name, change="removed") for name in gone]

    def _steps(self, actor: Actor, spec: ProjectSpec) -> Iterable[tuple[str, Iterable[Any], Any, Any]]:
        return (
            ("table", spec.tables, self._lake.table, self._lake.declare),
            ("ingestion", spec.ingestions, self._sources.ingestion, self._sources.declare),
            ("feature view", spec.features, self._features.view, self._features.declare),
            ("training", spec.trainings, self._trainings.training, self._trainings.declare),
            ("pipeline", spec.pipelines, self._pipelines.pipeline, self._pipelines.declare),
            ("endpoint", spec.endpoints, self._endpoints.endpoint, self._endpoints.apply),
            ("monitor", spec.monitors, self._monitors.status, self._monitors.declare),
            ("trigger", [*spec.triggers, *schedules(spec)], self._triggers.trigger, self._triggers.declare),
        )

    async def _declare(
        self,
        actor: Actor,
        kind: str,
        thing: Any,
        read: Callable[[Actor, str, str], Awaitable[Any]],
        declare: Callable[[Actor, Any], Awaitable[Any]],
    ) -> Change:
        try:
            former = await read(actor, thing.project, thing.name)
        except NotFound:
            former = None
        if former is not None and _declared(former) == _plain(thing):
            return Change(kind=kind, name=thing.name, change="unchanged")
        await declare(actor, thing)
        return Change(kind=kind, name=thing.name, change="created" if former is None else "changed")

    async def _ensure_project(self, actor: Actor, spec: ProjectSpec) -> None:
        try:
            await self._governance.project(actor, spec.project)
        except NotFound:
            await self._governance.create_project(actor, Project(project=spec.project, note=spec.note))


def schedules(spec: ProjectSpec) -> list[TriggerSpec]:
    """The schedule triggers that `every=` on ingestions, trainings and pipelines stands for."""
    return [
        TriggerSpec(
            project=spec.project,
            name=schedule_name(kind, each),
            on=TriggerKind.SCHEDULE,
            schedule=each.every,
            start=each.name,
            start_kind=kind,
        )
        for kind, each in _periodic(spec)
        if each.every
    ]


def schedule_name(kind: str, thing: Any) -> str:
    """The name of the trigger that a thing's `every` stands for."""
    return f"{thing.name}-{kind}-schedule"


def _periodic(spec: ProjectSpec) -> list[tuple[str, Any]]:
    """What may have a period, with its kind."""
    return [
        *(("ingestion", each) for each in spec.ingestions),
        *(("training", each) for each in spec.trainings),
        *(("pipeline", each) for each in spec.pipelines),
    ]


def check_project(spec: ProjectSpec) -> None:
    """Refuse a project whose parts do not fit together, before any of it is declared.

    Raises:
        InvalidValue: a part names another project, a name twice, or something that is not declared.
    """
    check_name(spec.project, "project")
    groups = {
        name: getattr(spec, name) for name in ProjectSpec.__struct_fields__ if isinstance(getattr(spec, name), tuple)
    }
    if sum(len(group) for group in groups.values()) > THINGS_MAX:
        raise InvalidValue(
            f"project {spec.project!r} declares more than {THINGS_MAX} things.", fix="Split it in two projects."
        )
    for kind, things in groups.items():
        names = [thing.name for thing in things]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValue(f"{kind} {twice[0]!r} is declared twice.", fix="Give each its own name.", field=kind)
        for thing in things:
            if thing.project != spec.project:
                raise InvalidValue(
                    f"{kind} {thing.name!r} names project {thing.project!r}, it is part of {spec.project!r}.",
                    field=kind,
                )
    tables = {table.name for table in spec.tables}
    for ingestion in spec.ingestions:
        _known(ingestion.table, tables, f"ingestion {ingestion.name!r} fills table", "tables")
    for view in spec.features:
        _known(view.table, tables, f"feature view {view.name!r} reads table", "tables")
    views, endpoints = {view.name for view in spec.features}, {endpoint.name for endpoint in spec.endpoints}
    for training in spec.trainings:
        _known(training.data, views, f"training {training.name!r} learns from feature view", "features")
        if training.feedback:
            _known(training.feedback, endpoints, f"training {training.name!r} learns from endpoint", "endpoints")
    for monitor in spec.monitors:
        _known(monitor.endpoint, endpoints, f"monitor {monitor.name!r} watches endpoint", "endpoints")
    made = {f"{kind}_{endpoint}" for kind in ("requests", "labels") for endpoint in endpoints}
    for trigger in spec.triggers:
        startable = {each.name for each in getattr(spec, f"{trigger.start_kind}s", ())}
        _known(trigger.start, startable, f"trigger {trigger.name!r} starts {trigger.start_kind}", "triggers")
        if trigger.on is TriggerKind.TABLE:
            _known(trigger.source, tables | made, f"trigger {trigger.name!r} waits on table", "tables")
        elif trigger.source:
            _known(trigger.source, endpoints, f"trigger {trigger.name!r} waits on endpoint", "endpoints")


def _known(name: str, known: set[str], what: str, field: str) -> None:
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise InvalidValue(f"{what} {name!r}, which the project does not declare; it declares {listed}.", field=field)


def _declared(kept: Any) -> dict[str, Any]:
    """What was declared, without what the platform keeps beside it."""
    return _plain(getattr(kept, "spec", kept))


def _plain(value: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(value)
    return {name: field for name, field in fields.items() if name not in KEPT_BY_PLATFORM}
