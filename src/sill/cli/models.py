"""models, endpoints, deploy, rollback, infer, label, monitors, incidents, triggers, explain: from a version to its effects."""

import sys
from typing import Annotated

import msgspec
import typer

from sill.cli.client import stages
from sill.cli.output import Options, console, show_json, show_line, show_table, when
from sill.cli.runs import name_and_value
from sill.core.errors import InvalidValue, NotFound
from sill.endpoints.types import Endpoint


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (
        models,
        endpoints,
        deploy,
        rollback_endpoint,
        approve,
        infer,
        label,
        monitors,
        incidents,
        triggers,
        fire,
        explain,
    ):
        app.command(name="revert" if command is rollback_endpoint else command.__name__)(command)


def models(
    name: Annotated[str, typer.Argument(help="Show the versions of this model.")] = "",
    version: Annotated[int, typer.Argument(help="Show the card of this version.")] = 0,
) -> None:
    """Registered models; versions of one, with their gates; the card of a version."""
    if version:
        show_line(stages().models.version(name, version), stages().models.card(name, version))
        return
    if name:
        found = stages().models.versions(name).items
        versions = [
            (
                each.version,
                each.state.value,
                _metrics(each.spec.evaluation.metrics),
                each.gate_report and each.gate_report.reason,
            )
            for each in found
        ]
        show_table(found, name, ("version", "state", "metrics", "gate"), versions, "no version yet.")
        return
    listed = stages().models.list().items
    rows = [(each.name, each.latest, _aliases(each.aliases), when(each.created_us)) for each in listed]
    show_table(listed, "models", ("name", "versions", "aliases", "made"), rows, "no model yet: train one.")


def endpoints(
    name: Annotated[str, typer.Argument(help="Show the revisions of this endpoint.")] = "",
) -> None:
    """Endpoints; or the revisions of one, with their share of the traffic and why."""
    if name:
        endpoint = stages().endpoints.get(name)
        revisions = [
            (each.number, each.model_version, each.state.value, f"{each.weight} %", when(each.state_us), each.reason)
            for each in endpoint.revisions
        ]
        show_table(
            endpoint, name, ("revision", "version", "state", "share", "since", "why"), revisions, "no revision yet."
        )
        return
    found = stages().endpoints.list().items
    rows = [(each.name, each.model, _live(each), f"p99 {each.spec.slo.p99_ms:g} ms", _url(each.name)) for each in found]
    show_table(found, "endpoints", ("name", "model", "live", "promises", "url"), rows, "no endpoint yet.")


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


def rollback_endpoint(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "by hand",
) -> None:
    """Return an endpoint to its former revision, or stop the one on its way in."""
    changed = stages().endpoints.rollback(endpoint, reason)
    live = changed.live()
    show_line(changed, f"{endpoint} answers with version {live.model_version if live else 'none'}.")


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
    show_line(answer, f"{answer.predictions[0]}  ({answer.request_id}, version {answer.model_version})")


def label(
    endpoint: Annotated[str, typer.Argument(help="Endpoint.")],
    request_id: Annotated[str, typer.Argument(help="Request id, from the answer.")],
    truth: Annotated[str, typer.Argument(help="What was true.")],
) -> None:
    """Tell the truth about an answer, later."""
    report = stages().traffic.label(endpoint, {request_id: truth})
    if report.unknown:
        raise NotFound(
            f"no request {request_id!r} of {endpoint!r} is known.",
            fix="Was it sampled? See log_sample of the endpoint.",
        )
    show_line(report, "kept." if report.joined else "it was known already.")


def monitors() -> None:
    """What is watched, and how the newest window was."""
    found = stages().monitors.list()
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
    show_table(found, "monitors", columns, rows, "nothing is watched yet.")


def incidents(
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
) -> None:
    """What went wrong, and whether it is over."""
    found = stages().monitors.incidents(is_open=True if is_open else None).items
    rows = [
        (
            each.id,
            each.endpoint,
            each.kind.value,
            "open" if each.is_open else "closed",
            when(each.opened_us),
            each.summary,
        )
        for each in found
    ]
    show_table(found, "incidents", ("id", "endpoint", "kind", "state", "opened", "what"), rows, "no incident.")


def triggers() -> None:
    """What starts runs by itself, and why it waits."""
    found = stages().triggers.list()
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
    show_table(found, "triggers", ("name", "on", "of", "starts", "fired", "why it waits"), rows, "no trigger yet.")


def fire(
    name: Annotated[str, typer.Argument(help="Trigger.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the run.")] = "by hand",
) -> None:
    """Start now what a trigger names."""
    run = stages().triggers.fire(name, reason)
    show_line(run, f"{run.id}: follow it with `sill logs {run.id} --follow`.")


def explain(
    request_id: Annotated[str, typer.Argument(help="Request id, from the answer.")],
) -> None:
    """Where an answer came from: version, run, code, snapshot, source rows, and what it cost."""
    found = stages().traffic.explain(request_id)
    if Options.as_json:
        show_json(found)
        return
    truth = f", true: {found.label}" if found.label else ""
    console.print(f"[bold]{request_id}[/] was answered {found.request.prediction!r}{truth}")
    rows = [(each.what, each.address, ", ".join(f"{k} {v}" for k, v in each.facts.items())) for each in found.chain]
    show_table(found, "", ("what", "address", "facts"), rows, "nothing is known.")
    for row in found.source_rows:
        console.print(msgspec.json.encode(row).decode(), markup=False)
    show_line(None, f"cost {found.cost_usd:.2g} USD, {found.energy_wh:.2g} Wh, {found.carbon_g:.2g} gCO2e")


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
