"""audit, events, tokens, secrets, projects, costs, lineage: who may, who did, where from, and what it costs."""

import sys
from typing import Annotated

import typer

from sill.cli.client import stages
from sill.cli.output import Options, show_json, show_line, show_table, when
from sill.core.errors import InvalidValue
from sill.governance.types import TokenSpec

audit = typer.Typer(help="The audit log.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens: who may come in.", no_args_is_help=True)
secrets = typer.Typer(help="Secrets of the project; values are never shown.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(audit, name="audit")
    app.add_typer(tokens, name="tokens")
    app.add_typer(secrets, name="secrets")
    app.command()(projects)
    app.command()(costs)
    app.command()(lineage)


@audit.command("verify")
def verify() -> None:
    """Recompute the hash chain over every event; exit code 1 if it breaks."""
    report = stages().governance.verify_audit()
    if report.broken_at:
        show_line(report, f"the chain breaks at event {report.broken_at}: {report.problem}")
        raise typer.Exit(1)
    show_line(
        report, f"{report.checked} events, {report.heads_checked} signed heads: whole. Head {report.head_hash[:16]}…"
    )


@audit.command("events")
def events(
    after: Annotated[int, typer.Option(help="Show events behind this number.")] = 0,
    limit: Annotated[int, typer.Option(help="Most events to show.")] = 50,
    kind: Annotated[list[str], typer.Option(help="Kind, such as run.finished, or run. for all of runs.")] = [],  # noqa: B006
) -> None:
    """What happened, in order."""
    page = stages().governance.events(after=after, project=Options.project, kinds=tuple(kind), limit=limit)
    rows = [(each.seq, when(each.at_us), each.project, each.kind, each.subject, each.actor) for each in page.items]
    show_table(page, "events", ("#", "when", "project", "what", "subject", "who"), rows, "no events.")


@tokens.command("list")
def list_tokens() -> None:
    """Tokens that were made; never their secrets."""
    found = stages().governance.tokens()
    rows = [
        (
            each.id,
            each.name,
            each.prefix,
            " ".join(each.scopes),
            " ".join(each.projects),
            _end(each.expires_us, each.revoked_us),
        )
        for each in found
    ]
    show_table(found, "tokens", ("id", "name", "begins", "scopes", "projects", "until"), rows, "only the root token.")


@tokens.command("create")
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


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Id, from `sill tokens list`.")],
) -> None:
    """End a token; it stops working within seconds."""
    show_line(stages().governance.revoke_token(token_id), f"{token_id} is revoked.")


@secrets.command("put")
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


@secrets.command("list")
def list_secrets() -> None:
    """Names of secrets."""
    found = stages().governance.secret_names()
    show_table(found, "secrets", ("name",), [(name,) for name in found], "no secret yet.")


@secrets.command("delete")
def delete_secret(
    name: Annotated[str, typer.Argument(help="Name.")],
) -> None:
    """Forget a secret."""
    stages().governance.delete_secret(name)
    show_line({"name": name}, f"secret {name} is gone.")


def projects() -> None:
    """Projects you may see."""
    found = stages().governance.projects()
    rows = [(each.project, each.note, when(each.created_us)) for each in found]
    show_table(found, "projects", ("name", "note", "made"), rows, "no project yet: `sill apply project.py` makes one.")


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
    show_table(report, report.project, ("what", "CPU s", "USD", "Wh", "gCO2e"), rows, "nothing was used yet.")
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
    if Options.as_json:
        show_json(graph)
        return
    rows = [(edge.source, edge.kind, edge.target) for edge in graph.edges]
    empty = "nothing is known to be made from it." if down else "nothing is known of where it comes from."
    show_table(graph, address, ("from", "by", "to"), rows, empty)


def _end(expires_us: int, revoked_us: int) -> str:
    if revoked_us:
        return f"revoked {when(revoked_us)}"
    return when(expires_us) if expires_us else "revoked by hand"
