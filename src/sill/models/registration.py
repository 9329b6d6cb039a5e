"""What a registration and a verdict write, in one transaction: version, number, gate report, lineage, events."""

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.addresses import Address, parse_address
from sill.core.errors import NotFound
from sill.core.names import check_id
from sill.governance.lineage import add_edge
from sill.models.rules import CHAMPION, judge, state_after
from sill.models.store import MODELS, champion_of, create_version, keep_model, version_id
from sill.models.types import GateReport, ModelVersion, RegisteredModel, VersionSpec, VersionState
from sill.stores.database import Tx

REASON_LENGTH_MAX = 1_000
EVENTS = {
    VersionState.ACCEPTED: "model.accepted",
    VersionState.REJECTED: "model.rejected",
    VersionState.AWAITING_APPROVAL: "model.awaiting",
}


def check_inputs(actor: Actor, project: str, spec: VersionSpec) -> None:
    """Refuses addresses that are not of the form they must have, or another tenant's.

    Raises:
        InvalidValue: the form.
        NotFound: the tenant.
    """
    if spec.run_id:
        check_id(spec.run_id, "run_id")
    for source in spec.inputs:
        address = parse_address(source)
        if address.project != project and not actor.may_touch(address.project):
            raise NotFound(f"no project {address.project!r}.", fix="Name data of this project.", field="inputs")


def register(tx: Tx, actor: Actor, project: str, spec: VersionSpec, manifest_digest: str) -> ModelVersion:
    """The version, its model, its verdict, its lineage and its events, in one transaction.

    The model's document is where numbers are given: one further each time, never twice, without gaps.
    """
    model = MODELS.find(tx.connection, project, spec.model)
    known = model or RegisteredModel(project=project, name=spec.model, created_us=tx.now_us)
    if model is None:
        tx.emit("model.created", project, spec.model, actor.id, model=spec.model, prompt=False)
    number = known.latest + 1
    keep_model(tx, replace(known, latest=number, changed_us=tx.now_us))
    champion = champion_of(tx.connection, known, CHAMPION)
    # One that was promoted without a gate has no scores to be compared with.
    incumbent = champion.version if champion is not None and not champion.is_tracked else 0
    report: GateReport = judge(spec.evaluation, spec.gate, incumbent)
    registered = create_version(
        tx,
        ModelVersion(
            id=version_id(spec.model, number),
            project=project,
            model=spec.model,
            version=number,
            spec=spec,
            state=state_after(report, spec.gate),
            manifest=manifest_digest,
            gate_report=replace(report, at_us=tx.now_us),
            created_us=tx.now_us,
            changed_us=tx.now_us,
            actor=actor.id,
        ),
    )
    address = str(Address(project=project, kind="models", name=spec.model, version=str(number)))
    if spec.run_id:
        add_edge(tx, project, str(Address(project=project, kind="runs", name=spec.run_id)), address, "registered")
    for source in spec.inputs:
        add_edge(tx, project, source, address, "trained_from")
    tx.emit("model.registered", project, registered.id, actor.id, model=spec.model, version=number, run=spec.run_id)
    tell(tx, actor, registered)
    return registered


def tell(tx: Tx, actor: Actor, version: ModelVersion) -> None:
    """Leave the event that says what became of a version."""
    reason = version.gate_report.reason[:REASON_LENGTH_MAX] if version.gate_report else ""
    facts = {"model": version.model, "version": version.version, "reason": reason}
    tx.emit(EVENTS[version.state], version.project, version.id, actor.id, **facts)
