"""Trainings: declared, checked, and started as runs that the agent does."""

import msgspec

from sill.core.actors import Actor
from sill.core.addresses import Address
from sill.core.errors import InvalidValue, Refused
from sill.core.names import check_column, check_name, shorten
from sill.core.schedules import check_schedule
from sill.governance.rules import require
from sill.runs.rules import check_spec
from sill.runs.service import Runs
from sill.runs.training.scores import task_of
from sill.runs.training.types import TrainingSpec
from sill.runs.tuning.study import check_tune
from sill.runs.types import Run, RunSpec
from sill.stores.database import Database, Documents, Tx

TRAININGS: Documents[TrainingSpec] = Documents("trainings", TrainingSpec)
TIMEOUT_S_MAX = 30 * 24 * 3600.0
HOLDOUT_MAX = 0.9
SALT_LENGTH_MAX = 100
COLUMNS_MAX = 1_000
ANY_CODE = "0" * 64


class Trainings:
    """Declares and starts trainings."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def declare(self, actor: Actor, spec: TrainingSpec) -> TrainingSpec:
        """Keep a training, new or changed.

        Raises:
            InvalidValue: a part of it is outside what is allowed.
        """
        require(actor, "runs:write", spec.project)
        check_training(spec)

        def keep(tx: Tx) -> TrainingSpec:
            kept = TRAININGS.put(tx, spec)
            tx.emit("training.declared", spec.project, spec.name, actor.id, model=spec.model, data=spec.data)
            return kept

        return await self._database.write(keep)

    async def training(self, actor: Actor, project: str, name: str) -> TrainingSpec:
        """One declared training."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: TRAININGS.get(connection, project, name))

    async def trainings(self, actor: Actor, project: str) -> tuple[TrainingSpec, ...]:
        """All declared trainings of a project."""
        require(actor, "runs:read", project)
        return tuple(await self._database.read(lambda connection: TRAININGS.every(connection, project)))

    async def start(self, actor: Actor, project: str, name: str, reason: str = "", key: str = "") -> Run:
        """Submit a run that fits, exports, evaluates and registers the model.

        Raises:
            Refused: the training has no code to run.
        """
        spec = await self.training(actor, project, name)
        return await self._runs.submit(actor, project, run_spec(spec, reason), key=key)


def run_spec(spec: TrainingSpec, reason: str = "") -> RunSpec:
    """The run that does a training.

    Raises:
        Refused: the training has no code to run.
    """
    if not spec.code:
        raise Refused(
            f"training {spec.name!r} has no code.", fix="Declare it with `sill apply`, which uploads the code."
        )
    inputs = [_address(spec, "features", spec.data), _address(spec, "code", spec.code)]
    if spec.feedback:
        inputs.append(_address(spec, "endpoints", spec.feedback))
    return RunSpec(
        name=spec.name,
        kind="train",
        code=spec.code,
        task={"training": msgspec.to_builtins(spec)},
        inputs=tuple(inputs),
        experiment=spec.name,
        params={name: str(value) for name, value in spec.params.items()},
        tags={"training": spec.name, "model": spec.model, **({"reason": shorten(reason, 500)} if reason else {})},
        resources=spec.resources,
        timeout_s=spec.timeout_s,
        retries=spec.retries,
        seed=spec.seed,
    )


def check_training(spec: TrainingSpec) -> TrainingSpec:
    """The declaration itself, if it can be done.

    Raises:
        InvalidValue: a name, metric, search space, fraction, schedule or limit is outside what is allowed; what the
            run of it could not have is refused here, not when it is due.
    """
    check_name(spec.name)
    check_name(spec.model, "model")
    check_name(spec.data, "data")
    task = task_of(spec.gate.metric)
    if spec.feedback:
        check_name(spec.feedback, "feedback")
    if not spec.function.isidentifier() or not all(part.isidentifier() for part in spec.module.split(".")):
        raise InvalidValue(
            f"{shorten(f'{spec.module}.{spec.function}')!r} is not a function of a module.", field="function"
        )
    if not 0 < spec.holdout.fraction <= HOLDOUT_MAX:
        raise InvalidValue(
            f"holdout fraction {spec.holdout.fraction} is not within (0, {HOLDOUT_MAX}].", field="holdout.fraction"
        )
    if len(spec.holdout.salt) > SALT_LENGTH_MAX:
        raise InvalidValue(f"holdout.salt is longer than {SALT_LENGTH_MAX} characters.", field="holdout.salt")
    check_column(spec.label, "label")
    for field, columns in (("exclude", spec.exclude), ("slices", spec.slices)):
        if len(columns) > COLUMNS_MAX:
            raise InvalidValue(f"{field} names {len(columns)} columns; at most {COLUMNS_MAX} may be.", field=field)
        for column in columns:
            check_column(column, field)
    if not 0 < spec.timeout_s <= TIMEOUT_S_MAX:
        raise InvalidValue(f"timeout_s {spec.timeout_s} is not within (0, {TIMEOUT_S_MAX:g}].", field="timeout_s")
    if not 0.5 <= spec.gate.confidence < 1:
        raise InvalidValue(f"confidence {spec.gate.confidence} is not within [0.5, 1).", field="gate.confidence")
    for name in ("slice_drop_max", "slice_rows_min", "latency_ms_max", "parity_max"):
        if not getattr(spec.gate, name) >= 0:
            raise InvalidValue(f"gate.{name} {getattr(spec.gate, name)} is below zero.", field=f"gate.{name}")
    if spec.every:
        check_schedule(spec.every)
    check_spec(run_spec(msgspec.structs.replace(spec, code=spec.code or ANY_CODE)), spec.project)
    if spec.tune is not None:
        check_tune(spec.tune)
        if task_of(spec.tune.metric) != task:
            raise InvalidValue(
                f"tune.metric {spec.tune.metric!r} and gate.metric {spec.gate.metric!r} measure different tasks.",
                fix="Choose both for classification or both for regression.",
                field="tune.metric",
            )
    return spec


def _address(spec: TrainingSpec, kind: str, name: str) -> str:
    return str(Address(project=spec.project, kind=kind, name=name))
