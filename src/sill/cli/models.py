"""models, register, endpoints, deploy, revert, infer, label, monitors, explain ...: from a version to its effects."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole, amount, plain
from sill.cli.options import add
from sill.cli.output import Options, ago, show_json, show_line, show_table, when
from sill.cli.runs import MEBIBYTE, command, name_and_value
from sill.core.errors import InvalidValue, NotFound
from sill.endpoints.types import Endpoint
from sill.models.types import ModelVersion, VersionSpec
from sill.runs.training.types import Evaluation, GateSpec

PANEL = "Models and endpoints"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    add(app, models, "sill -p shop models", "sill -p shop models churn", "sill -p shop models churn 2", panel=PANEL)
    add(
        app,
        register_model,
        "sill -p shop register model.ubj churn --metric auc=0.91 --rows 500",
        name="register",
        panel=PANEL,
    )
    add(app, approve, "sill -p shop approve churn 2", "sill -p shop approve churn 2 --refuse", panel=PANEL)
    add(app, endpoints, "sill -p shop endpoints", "sill -p shop endpoints churn", panel=PANEL)
    add(app, deploy, "sill -p shop deploy churn 2", panel=PANEL)
    add(app, revert, 'sill -p shop revert churn --reason "too slow"', panel=PANEL)
    asked = """sill -p shop infer churn '{"age": 41, "plan": "free"}'"""
    about = "sill -p shop infer churn - --entity customer_id=c7 < features.json"
    add(app, infer, asked, about, panel=PANEL)
    add(app, label, "sill -p shop label churn REQUEST true", panel=PANEL)
    add(app, explain, "sill -p shop explain REQUEST", panel=PANEL)
    add(app, monitors, "sill -p shop monitors", panel=PANEL)
    add(app, incidents, "sill -p shop incidents --open", panel=PANEL)
    add(app, triggers, "sill -p shop triggers", panel=PANEL)
    add(app, fire, "sill -p shop fire churn-retrain-drift", panel=PANEL)


def models(
    name: Annotated[str, typer.Argument(help="Show the versions of this model.")] = "",
    version: Annotated[int, typer.Argument(help="Show the card of this version.")] = 0,
) -> None:
    """Registered models; versions of one, with their gates; the card of a version."""
    if version:
        found_version = stages().models.version(name, version)
        is_ours = not found_version.is_tracked
        show_line(found_version, stages().models.card(name, version) if is_ours else _told(found_version))
        return
    if name:
        found = stages().models.versions(name).items
        versions = [
            (
                each.version,
                each.state.value,
                _metrics(each.spec.evaluation.metrics),
                _verdict(each),
            )
            for each in found
        ]
        show_table(found, name, ("version", "state", "metrics", "gate"), versions, "no version yet.", has_prose=True)
        return
    here = stages()
    listed = here.models.list().items
    rows = [(each.name, each.latest, _aliases(each.aliases), when(each.created_us)) for each in listed]
    show_table(
        listed,
        "",
        ("name", "newest", "aliases", "made"),
        rows,
        partial(nothing, here, "model", "train one: sill train"),
    )


def register_model(
    path: Annotated[Path, typer.Argument(help="The model's file, or the folder of its files.")],
    model: Annotated[str, typer.Argument(help="Registered model; made if it is not there.")] = "",
    runtime: Annotated[str, typer.Option(help="What makes it answer, such as xgboost; found out when left out.")] = "",
    metric: Annotated[list[str], typer.Option(help="NAME=VALUE on held-out rows; the gate judges the first.")] = [],  # noqa: B006
    rows: Annotated[int, typer.Option(help="Held-out rows that the metrics were measured on.")] = 0,
    minimum: Annotated[float | None, typer.Option(help="What the first metric must reach (a loss: at most).")] = None,
    note: Annotated[str, typer.Option(help="What is said of the version.")] = "",
) -> None:
    """Register a model's file as a version, and show what it takes and gives; without a MODEL, only show that."""
    here = stages()
    found = here.models.inspect(path, runtime)
    said = found.inspection
    if not (model and Options.as_json):
        tensors = [*(("in", one) for one in said.signature.inputs), *(("out", one) for one in said.signature.outputs)]
        shown = [(way, one.name, one.datatype, str(list(one.shape))) for way, one in tensors]
        took = "no answer to zeros" if said.latency_ms_p99 is None else f"{said.latency_ms_p99:.2g} ms a row"
        title = f"{found.runtime}, {found.size_bytes:,} bytes, {said.memory_bytes / MEBIBYTE:.0f} MiB loaded, {took}"
        show_table(found, title, ("way", "tensor", "datatype", "shape"), shown, "nothing.")
    if not model:
        return
    values = {name: _number(value) for name, value in (name_and_value(each, "--metric auc=0.91") for each in metric)}
    first = next(iter(values), GateSpec().metric)
    judged = Evaluation(metric=first, rows=rows, metrics=values, latency_ms_p99=said.latency_ms_p99 or 0.0)
    gate = GateSpec(metric=first, minimum=minimum)
    made = here.models.register(
        VersionSpec(
            model=model,
            files=found.files,
            runtime=found.runtime,
            signature=said.signature,
            evaluation=judged,
            gate=gate,
            note=note,
        )
    )
    show_line(made, f"{model} version {made.version} is {made.state.value}: {_verdict(made)}.")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as wrong:
        raise InvalidValue(f"{text!r} is no number.", fix="--metric auc=0.91") from wrong


def endpoints(
    name: Annotated[str, typer.Argument(help="Show the revisions of this endpoint.")] = "",
) -> None:
    """Endpoints; or the revisions of one, with their share of the traffic and why."""
    if name:
        endpoint = stages().endpoints.get(name)
        revisions = [
            (each.number, each.model_version, each.state.value, f"{each.weight} %", ago(each.state_us), each.reason)
            for each in endpoint.revisions
        ]
        titles = ("revision", "version", "state", "share", "since", "why")
        show_table(endpoint, name, titles, revisions, "no revision yet.", has_prose=True)
        return
    here = stages()
    found = here.endpoints.list().items
    rows = [(each.name, each.model, _live(each), f"p99 {each.spec.slo.p99_ms:g} ms", _url(each.name)) for each in found]
    columns = ("name", "model", "live", "promises", "url")
    empty = partial(nothing, here, "endpoint", "declare one in a project file")
    show_table(found, "", columns, rows, empty, has_prose=True)


def deploy(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    version: Annotated[int, typer.Argument(help="Model version.")],
    force: Annotated[
        bool, typer.Option("--force", help="Although its gate said no; the judge still watches it.")
    ] = False,
) -> None:
    """Roll a model version out by hand: shadow, canary, live."""
    changed = stages().endpoints.deploy(endpoint, version, force=force)
    rolling = changed.rolling() or changed.live()
    show_line(
        changed, f"revision {rolling.number if rolling else '?'} of {endpoint} answers with version {version} soon."
    )


def revert(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "by hand",
) -> None:
    """Stop the revision on its way in; if there is none, return to the former live one."""
    changed = stages().endpoints.rollback(endpoint, reason)
    live = changed.live()
    moved = max(changed.revisions, key=lambda each: each.state_us)
    step = f"revision {moved.number} (version {moved.model_version}) is {moved.state.value}"
    show_line(changed, f"{step}; {endpoint} answers with version {live.model_version if live else 'none'}.")


def approve(
    model: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[int, typer.Argument(help="Version that awaits a person's word.")],
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "",
) -> None:
    """Say yes (or no) to a version whose gate asks for a person."""
    changed = stages().models.approve(model, version, not refuse, reason)
    show_line(changed, f"{model} version {version} is {changed.state.value}.")


def infer(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    features: Annotated[str, typer.Argument(help="JSON object of features; - reads it from standard input.")],
    entity: Annotated[
        list[str], typer.Option(help="NAME=VALUE of whom it is about; leads `explain` to the source rows.")
    ] = [],  # noqa: B006
    request_id: Annotated[str, typer.Option("--id", help="Your own id for the request; made when left out.")] = "",
) -> None:
    """Ask an endpoint once."""
    given = sys.stdin.read() if features == "-" else features
    try:
        values = msgspec.json.decode(given, type=dict[str, float | str | None])
    except msgspec.DecodeError as wrong:
        raise InvalidValue(
            f"the features are no JSON object of numbers and texts: {wrong}.", fix='{"age": 41, "plan": "free"}'
        ) from wrong
    about = dict(name_and_value(each, "--entity patient_id=p0008") for each in entity)
    answer = stages().traffic.infer(endpoint, values, entity=about, request_id=request_id)
    show_line(answer, f"{plain(str(answer.prediction))}  ({answer.request_id}, version {answer.model_version})")


def label(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    request_id: Annotated[str, typer.Argument(help="Request id, from the answer.")],
    truth: Annotated[str, typer.Argument(help="What was true.")],
) -> None:
    """Tell the truth about an answer, later."""
    report = stages().traffic.label(endpoint, {request_id: truth})
    if report.unknown:
        raise NotFound(
            f"no request {request_id!r} of {endpoint!r} is known; the label is kept in labels_{endpoint}, joined to nothing.",
            fix="Take the id from the answer; an answer counts once it was recorded, about a second later.",
        )
    show_line(report, "kept." if report.joined else "it was known already.")


def monitors() -> None:
    """What is watched, and how the newest window was."""
    here = stages()
    found = here.monitors.list()
    rows = [
        (
            each.spec.name,
            each.spec.endpoint,
            each.windows,
            ", ".join(each.window.shifted) if each.window else "",
            each.window.latency_ms_p99 if each.window else None,
            sum(incident.is_open for incident in each.incidents),
        )
        for each in found
    ]
    columns = ("name", "endpoint", "windows", "shifted", "p99 ms", "open incidents")
    show_table(found, "", columns, rows, partial(nothing, here, "monitor", "an endpoint in a project file has one"))


def incidents(
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
) -> None:
    """What went wrong, and whether it is over."""
    here = stages()
    found = here.monitors.incidents(is_open=True if is_open else None).items
    rows = [
        (
            each.id,
            each.endpoint,
            each.kind.value,
            "open" if each.is_open else "closed",
            ago(each.opened_us),
            each.summary,
        )
        for each in found
    ]
    columns = (Whole("id"), "endpoint", "kind", "state", "opened", "what")
    show_table(found, "", columns, rows, partial(nothing, here, "incident", "all is calm"), has_prose=True)


def triggers() -> None:
    """What starts runs by itself, and why it waits."""
    here = stages()
    found = here.triggers.list()
    rows = [
        (
            each.name,
            each.spec.on.value,
            each.spec.source or each.spec.schedule,
            each.spec.start,
            each.fired,
            each.reason,
        )
        for each in found
    ]
    columns = ("name", "on", "of", "starts", "fired", "why it waits")
    empty = partial(nothing, here, "trigger", "an endpoint's `retrain` in a project file makes one")
    show_table(found, "", columns, rows, empty, has_prose=True)


def fire(
    name: Annotated[str, typer.Argument(help="Trigger.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the run.")] = "by hand",
) -> None:
    """Start now what a trigger names."""
    run = stages().triggers.fire(name, reason)
    show_line(run, f"{run.id} {run.state.value}: {command(f'logs {run.id} --follow')}")


def explain(
    request_id: Annotated[str, typer.Argument(help="Request id, from the answer.")],
) -> None:
    """Where an answer came from: version, run, code, snapshot, source rows, and what it cost."""
    found = stages().traffic.explain(request_id)
    if Options.as_json:
        show_json(found)
        return
    truth = f", true: {plain(found.label)}" if found.label else ""
    show_line(None, f"{request_id} was answered {found.request.prediction!r}{truth}")
    rows = [(each.what, each.address, ", ".join(f"{k} {v}" for k, v in each.facts.items())) for each in found.chain]
    show_table(found, "", ("what", Whole("address"), "facts"), rows, "nothing is known.", has_prose=True)
    for row in found.source_rows:
        show_line(None, f"source row {plain(msgspec.json.encode(row).decode())}")
    used = f"{amount(found.cost_usd)} USD, {amount(found.energy_wh)} Wh, {amount(found.carbon_g)} gCO2e"
    show_line(None, f"cost {used}")


def _verdict(version: ModelVersion) -> str:
    """What the gate said; of a tracked version, where it is and whether it could be loaded here."""
    if not version.is_tracked:
        return version.gate_report.reason if version.gate_report else ""
    return f"at {version.source}; {version.loadable_reason or 'loadable: deploy it'}"


def _told(version: ModelVersion) -> str:
    """What is known of a version that holds no files itself, and so has no card."""
    flavors = f", flavours {', '.join(version.flavors)}" if version.flavors else ""
    return f"{version.model} version {version.version} is {version.state.value}{flavors}: {_verdict(version)}"


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{name}={version}" for name, version in aliases.items())


def _live(endpoint: Endpoint) -> str:
    live, rolling = endpoint.live(), endpoint.rolling()
    shown = f"version {live.model_version}" if live else "none"
    return f"{shown}, version {rolling.model_version} {rolling.state.value}" if rolling else shown


def _url(name: str) -> str:
    client = stages().client
    return f"{client.inference_url}/v2/models/{client.project}/{name}/infer"
