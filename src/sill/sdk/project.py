"""A project file's nouns: tables, ingestions, features, trainings, pipelines, endpoints. They only take note.

Nothing is sent when a project file is imported, neither by `sill apply` nor inside a run: `Project.spec` gives what was
noted as one value. Decorated functions stay what they were.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import check_name
from sill.endpoints.types import SLO, EndpointSpec, Rollout
from sill.features.types import FeatureView
from sill.lake.types import QualityGate, Rule, TableSpec
from sill.monitors.types import MonitorSpec
from sill.projects.types import ProjectSpec
from sill.runs.training.types import GateSpec, Holdout, TrainingSpec, Tune
from sill.runs.types import Resources
from sill.sdk.declarations import StartOn
from sill.sdk.steps import Pipeline, module_of, step_name
from sill.sources.types import IngestionSpec, Source
from sill.triggers.types import TriggerKind, TriggerSpec

F = TypeVar("F", bound=Callable[..., Any])


class Project:
    """What a project declares.

    Args:
        name: its name on the platform.
        note: shown beside it.
    """

    def __init__(self, name: str, note: str = "") -> None:
        self.name = check_name(name, "project")
        self.note = note
        self._tables: list[TableSpec] = []
        self._ingestions: list[IngestionSpec] = []
        self._features: list[FeatureView] = []
        self._trainings: list[TrainingSpec] = []
        self._functions: list[tuple[Callable[..., Any], str]] = []
        self._pipelines: list[Pipeline] = []
        self._endpoints: list[EndpointSpec] = []
        self._monitors: list[MonitorSpec] = []
        self._triggers: list[TriggerSpec] = []

    def table(
        self,
        name: str,
        *,
        key: str | Sequence[str] = (),
        time: str = "",
        rules: Sequence[Rule] = (),
        gate: QualityGate | None = None,
        note: str = "",
    ) -> TableSpec:
        """Declare a table. `key` and `time` name whom a row is about and from when; `rules` repair, set aside or drop rows."""
        spec = TableSpec(
            project=self.name,
            name=name,
            key=_texts(key),
            time=time,
            rules=tuple(rules),
            gate=gate or QualityGate(),
            note=note,
        )
        self._tables.append(spec)
        return spec

    def ingest(self, table: TableSpec | str, *sources: Source | str, name: str = "", every: str = "") -> Any:
        """Declare what fills a table: sources, or the decorated function, which returns data or sources.

        Args:
            every: `1h`, `15m`, `1d` or a cron expression; empty means by hand.
        """
        into = table if isinstance(table, str) else table.name
        given = tuple(Source(url=source) if isinstance(source, str) else source for source in sources)
        if given:
            spec = IngestionSpec(project=self.name, name=name or into, table=into, sources=given, every=every)
            self._ingestions.append(spec)
            return spec

        def take(function: F) -> F:
            self._ingestions.append(
                IngestionSpec(
                    project=self.name,
                    name=name or step_name(function),
                    table=into,
                    function=f"{module_of(function)}:{function.__name__}",
                    every=every,
                )
            )
            return function

        return take

    def features(
        self,
        name: str,
        *,
        entity: str | Sequence[str],
        source: TableSpec | str,
        sql: str = "",
        time: str | None = None,
        ttl_s: int = 0,
    ) -> FeatureView:
        """Declare features of an entity: a SELECT over `source`, or all its columns."""
        table = source if isinstance(source, str) else source.name
        known = "" if isinstance(source, str) else source.time
        view = FeatureView(
            project=self.name,
            name=name,
            entity=_texts(entity),
            table=table,
            time=known if time is None else time,
            sql=sql,
            ttl_s=ttl_s,
        )
        self._features.append(view)
        return view

    def train(
        self,
        *,
        data: FeatureView | str,
        label: str,
        name: str = "",
        model: str = "",
        tune: Tune | None = None,
        resources: Resources | None = None,
        gate: GateSpec | None = None,
        holdout: Holdout | float | None = None,
        slices: Sequence[str] = (),
        exclude: Sequence[str] = (),
        feedback: str = "",
        params: Mapping[str, Any] | None = None,
        every: str = "",
        **options: Any,
    ) -> Callable[[F], F]:
        """Declare a training: the decorated function is called as `fit(data, params, run)` and returns a fitted model.

        Args:
            model: registered name; the training's own name when empty.
            holdout: rows kept for evaluation; a number is the fraction.
            options: further fields of `TrainingSpec`: timeout_s, retries, seed.
        """
        held = Holdout(fraction=holdout) if isinstance(holdout, int | float) else holdout

        def take(function: F) -> F:
            called = name or step_name(function)
            fields: dict[str, Any] = {"resources": resources, "gate": gate, "holdout": held}
            self._trainings.append(
                TrainingSpec(
                    project=self.name,
                    name=called,
                    function=function.__name__,
                    module=module_of(function),
                    data=data if isinstance(data, str) else data.name,
                    label=label,
                    model=model or called,
                    tune=tune,
                    slices=tuple(slices),
                    exclude=tuple(exclude),
                    feedback=feedback,
                    params=dict(params or {}),
                    every=every,
                    **{field: value for field, value in fields.items() if value is not None},
                    **options,
                )
            )
            self._functions.append((function, called))
            return function

        return take

    def pipeline(self, name: str, *, every: str = "") -> Pipeline:
        """Declare a pipeline; its steps are functions decorated with `.step`."""
        made = Pipeline(self.name, name, every)
        self._pipelines.append(made)
        return made

    def endpoint(
        self,
        name: str,
        *,
        model: Callable[..., Any] | str,
        slo: SLO | None = None,
        rollout: Rollout | None = None,
        retrain: StartOn | Sequence[StartOn] = (),
        monitor: Mapping[str, Any] | bool = True,
        log_sample: float = 1.0,
        log_payload: bool = True,
        auto_rollout: bool = True,
        idle_s: float = 0.0,
    ) -> EndpointSpec:
        """Declare an endpoint that follows a model, what watches it, and what trains the model again.

        Args:
            model: the decorated training function, or the registered model's name.
            retrain: made by `on_drift`, `on_quality`, `on_schedule`, `on_data`. The training then learns from this
                endpoint's labelled requests too, unless it names another endpoint.
            monitor: fields of `MonitorSpec`; False for no monitor.
            idle_s: after so many seconds without a request its model leaves memory; 0 for never.
        """
        training = self._training_of(model)
        registered = training.model if training else str(model)
        starts = (retrain,) if isinstance(retrain, StartOn) else tuple(retrain)
        spec = EndpointSpec(
            project=self.name,
            name=name,
            model=registered,
            slo=slo or SLO(),
            rollout=rollout or Rollout(),
            log_sample=log_sample,
            log_payload=log_payload,
            auto_rollout=auto_rollout,
            idle_s=idle_s,
        )
        self._endpoints.append(spec)
        if monitor is not False:
            self._monitors.append(self._monitor(spec, starts, {} if monitor is True else monitor))
        self._retrain(spec, training, starts)
        return spec

    def spec(self, code: str = "") -> ProjectSpec:
        """All that was noted, checked.

        Args:
            code: digest of the uploaded code; empty when nothing was uploaded.
        Raises:
            InvalidValue: a field has a value of the wrong type; the message names it.
        """
        noted = ProjectSpec(
            project=self.name,
            note=self.note,
            code=code,
            tables=tuple(self._tables),
            ingestions=tuple(
                msgspec.structs.replace(each, code=code if each.function else "") for each in self._ingestions
            ),
            features=tuple(self._features),
            trainings=tuple(msgspec.structs.replace(each, code=code) for each in self._trainings),
            pipelines=tuple(each.spec(code) for each in self._pipelines),
            endpoints=tuple(self._endpoints),
            monitors=tuple(self._monitors),
            triggers=tuple(self._triggers),
        )
        try:  # values were made without checks; this makes lists tuples and finds wrong types
            return msgspec.convert(msgspec.to_builtins(noted), ProjectSpec)
        except (msgspec.ValidationError, TypeError) as wrong:
            raise InvalidValue(f"project {self.name!r} is not right: {wrong}.", fix="Correct the value.") from wrong

    def _training_of(self, model: Callable[..., Any] | str) -> TrainingSpec | None:
        """The training behind a function, or the one that makes the named model."""
        if isinstance(model, str):
            return next((each for each in self._trainings if each.model == model), None)
        called = next((name for function, name in self._functions if function is model), None)
        if called is None:
            raise InvalidValue(
                f"{getattr(model, '__name__', model)!r} is not a training of project {self.name!r}.",
                fix="Decorate it with @project.train, or name the model.",
                field="model",
            )
        return next(each for each in self._trainings if each.name == called)

    def _monitor(self, endpoint: EndpointSpec, starts: Sequence[StartOn], given: Mapping[str, Any]) -> MonitorSpec:
        meant: dict[str, Any] = {}
        for start in starts:
            meant |= {} if start.psi is None else {"psi_min": start.psi}
            meant |= {} if start.accuracy_drop_max is None else {"accuracy_drop_max": start.accuracy_drop_max}
        try:
            return MonitorSpec(
                **{"project": self.name, "name": endpoint.name, "endpoint": endpoint.name, **meant, **given}
            )
        except TypeError as wrong:
            allowed = ", ".join(MonitorSpec.__struct_fields__)
            raise InvalidValue(f"monitor of endpoint {endpoint.name!r}: {wrong}; {allowed} are allowed.") from wrong

    def _retrain(self, endpoint: EndpointSpec, training: TrainingSpec | None, starts: Sequence[StartOn]) -> None:
        if not starts:
            return
        if training is None:
            raise InvalidValue(
                f"endpoint {endpoint.name!r} is to be trained again, but no training here makes {endpoint.model!r}.",
                fix="Declare the training before the endpoint.",
                field="retrain",
            )
        if not training.feedback:
            place = self._trainings.index(training)
            self._trainings[place] = msgspec.structs.replace(training, feedback=endpoint.name)
        for start in starts:
            self._triggers.append(
                TriggerSpec(
                    project=self.name,
                    name=f"{endpoint.name}-retrain-{start.on.value}",
                    on=start.on,
                    start=training.name,
                    source=self._watched(endpoint, training, start),
                    schedule=start.schedule,
                    cooldown_s=start.cooldown_s,
                    labels_min=start.labels_min,
                    rows_min=start.rows_min,
                )
            )

    def _watched(self, endpoint: EndpointSpec, training: TrainingSpec, start: StartOn) -> str:
        if start.on is TriggerKind.SCHEDULE:
            return ""
        if start.on is not TriggerKind.TABLE:
            return endpoint.name
        behind = next((view.table for view in self._features if view.name == training.data), "")
        return start.table or behind


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
