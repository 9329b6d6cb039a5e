"""audit, events, tokens, secrets, projects, costs, lineage: who may, who did, where from, and what it costs."""

import sys
import time
from functools import partial
from typing import Annotated

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole
from sill.cli.options import add
from sill.cli.output import Options, progress, show_line, show_table, when
from sill.core.actors import JOB
from sill.core.errors import InvalidValue
from sill.governance.types import TokenSpec

PANEL = "Governance"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    audit = typer.Typer(help="The audit log: what happened, and whether anybody changed it.")
    add(audit, verify, "sill audit verify", is_about_project=False)
    add(audit, events, "sill audit events --kind run.", "sill audit events -p shop --limit 10")
    app.add_typer(audit, name="audit", rich_help_panel=PANEL)
    tokens = typer.Typer(help="Tokens: who may come in.")
    add(tokens, list_tokens, "sill tokens list", name="list", is_about_project=False)
    made = "sill tokens create ci --role developer --only shop --seconds 86400"
    add(tokens, create_token, made, name="create", is_about_project=False)
    add(tokens, revoke_token, "sill tokens revoke TOKEN", name="revoke", is_about_project=False)
    app.add_typer(tokens, name="tokens", rich_help_panel=PANEL)
    secrets = typer.Typer(help="Secrets of the project; values are never shown.")
    add(secrets, list_secrets, "sill secrets list -p shop", name="list")
    add(secrets, put_secret, "sill secrets put warehouse -p shop < password.txt", name="put")
    add(secrets, delete_secret, "sill secrets delete warehouse -p shop", name="delete")
    app.add_typer(secrets, name="secrets", rich_help_panel=PANEL)
    add(app, projects, "sill projects", panel=PANEL, is_about_project=False)
    add(app, costs, "sill -p shop costs", panel=PANEL)
    traced = "sill lineage sill://shop/models/churn/1"
    add(app, lineage, traced, "sill lineage sill://shop/tables/customers --down", panel=PANEL, is_about_project=False)


def verify() -> None:
    """Recompute the hash chain over every event; exit code 1 if it breaks."""
    with progress("walking the log"):
        report = stages().governance.verify_audit()
    if report.broken_at:
        show_line(report, f"the chain breaks at event {report.broken_at}: {report.problem}")
        raise typer.Exit(1)
    show_line(
        report, f"{report.checked} events, {report.heads_checked} signed heads: whole. Head {report.head_hash[:16]}…"
    )


def events(
    after: Annotated[int, typer.Option(help="Show events behind this number.")] = 0,
    limit: Annotated[int, typer.Option(help="Most events to show.")] = 50,
    kind: Annotated[list[str], typer.Option(help="Kind, such as run.finished, or run. for all of runs.")] = [],  # noqa: B006
) -> None:
    """What happened, in order."""
    page = stages().governance.events(after=after, project=Options.project, kinds=tuple(kind), limit=limit)
    rows = [(str(each.seq), when(each.at_us), each.project, each.kind, each.actor, each.subject) for each in page.items]
    show_table(page, "", ("#", "when", "project", "what", "who", "subject"), rows, "no events.", has_prose=True)


def list_tokens(
    every: Annotated[bool, typer.Option("--all", help="Also those of runs, and those that ended.")] = False,
) -> None:
    """Tokens that are good; never their secrets."""
    now_us = time.time() * 1e6
    found = [
        each
        for each in stages().governance.tokens()
        if every or not (each.name.startswith(JOB) or each.revoked_us or 0 < each.expires_us < now_us)
    ]
    rows = [
        (each.id, each.name, _end(each.expires_us, each.revoked_us), " ".join(each.projects), " ".join(each.scopes))
        for each in found
    ]
    columns = (Whole("id"), "name", "until", "projects", "may")
    show_table(
        found, "", columns, rows, "only the root token: `sill tokens create NAME` makes another.", has_prose=True
    )


def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str, typer.Option(help="reader, developer, operator or admin.")] = "developer",
    only: Annotated[list[str], typer.Option("--only", help="Project it may touch; all when left out.")] = [],  # noqa: B006
    seconds: Annotated[int, typer.Option(help="How long it is good for; 0 until revoked.")] = 0,
) -> None:
    """Make a token. It is shown once."""
    made = stages().governance.create_token(
        TokenSpec(name=name, role=role, projects=tuple(only) or ("*",), seconds=seconds)
    )
    show_line(made, f"{made.secret}\n(id {made.token.id}; it is not shown again)")


def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Id, from `sill tokens list`.")],
) -> None:
    """End a token; it stops working within seconds."""
    show_line(stages().governance.revoke_token(token_id), f"{token_id} is revoked.")


def put_secret(
    name: Annotated[str, typer.Argument(help="Name.")],
) -> None:
    """Keep a secret; its value is read from standard input, so that it is in no history."""
    if sys.stdin.isatty():
        value = typer.prompt("value", hide_input=True)
    else:
        value = sys.stdin.read().rstrip("\n")
    if not value:
        raise InvalidValue("the secret is empty.", fix="echo VALUE | sill secrets put NAME")
    stages().governance.put_secret(name, value)
    show_line({"name": name}, f"secret {name} is kept.")


def list_secrets() -> None:
    """Names of secrets."""
    here = stages()
    found = here.governance.secret_names()
    empty = partial(nothing, here, "secret", "sill secrets put NAME")
    show_table(found, "", ("name",), [(name,) for name in found], empty)


def delete_secret(
    name: Annotated[str, typer.Argument(help="Name.")],
) -> None:
    """Forget a secret."""
    stages().governance.delete_secret(name)
    show_line({"name": name}, f"secret {name} is gone.")


def projects() -> None:
    """Projects you may see."""
    found = stages().governance.projects()
    rows = [(each.project, when(each.created_us), each.note) for each in found]
    empty = "no project yet: `sill apply project.py` makes one."
    show_table(found, "", ("name", "made", "note"), rows, empty, has_prose=True)


def costs() -> None:
    """What the project has used: seconds, money, energy, carbon."""
    report = stages().costs.report()
    rows = [
        (subject, cost.usage.cpu_s, cost.usd, cost.energy_wh, cost.carbon_g)
        for subject, cost in sorted(report.by_subject.items(), key=lambda item: -item[1].usd)
    ]
    total = report.total
    if not Options.as_json:
        rows.append(("total", total.usage.cpu_s, total.usd, total.energy_wh, total.carbon_g))
    show_table(report, report.project, (Whole("what"), "CPU s", "USD", "Wh", "gCO2e"), rows, "nothing was used yet.")
    if not Options.as_json:
        show_line(None, f"±{total.uncertainty:.0%}; energy {total.energy_source}; carbon {total.carbon_source}")


def lineage(
    address: Annotated[str, typer.Argument(help="sill://PROJECT/KIND/NAME[/VERSION]")],
    down: Annotated[
        bool, typer.Option("--down", help="What was made from it, instead of what it was made from.")
    ] = False,
) -> None:
    """What a thing was made from."""
    graph = stages().governance.lineage(address, direction="down" if down else "up")
    empty = "nothing is known to be made from it." if down else "nothing is known of where it comes from."
    if Options.as_json or not graph.edges:
        show_table(graph, "", (), (), empty)
        return
    by_end: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        here, there = (edge.source, edge.target) if down else (edge.target, edge.source)
        by_end.setdefault(here, []).append((edge.kind, there))
    longest = max(len(edge.kind) for edge in graph.edges)
    for here, others in by_end.items():  # addresses are long, and copied: a line each, never folded
        show_line(None, here)
        for kind, there in others:
            show_line(None, f"  {kind.ljust(longest)}  {there}")


def _end(expires_us: int, revoked_us: int) -> str:
    if revoked_us:
        return f"revoked {when(revoked_us)}"
    return when(expires_us) if expires_us else "revoked by hand"
