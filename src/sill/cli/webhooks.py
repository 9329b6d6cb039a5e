"""webhooks: who is told of which events, and what became of what was sent."""

import sys
from functools import partial
from typing import Annotated

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole
from sill.cli.options import add
from sill.cli.output import ago, show_line, show_table
from sill.core.errors import InvalidValue
from sill.webhooks.types import DeliveryState, WebhookChange, WebhookSpec, WebhookStatus

PANEL = "Governance"

WebhookId = Annotated[str, typer.Argument(help="Id of a webhook.", metavar="WEBHOOK")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    webhooks = typer.Typer(help="Addresses that are told of events of runs and models.")
    add(webhooks, list_webhooks, "sill webhooks list", name="list")
    added = "sill webhooks add ci https://ci.example/hook --event run.failed --event model_version.created"
    add(webhooks, add_webhook, added, "sill webhooks add ci URL --event run.failed --signed < secret.txt", name="add")
    add(webhooks, change_webhook, "sill webhooks change WEBHOOK --disable", name="change")
    add(webhooks, delete_webhook, "sill webhooks delete WEBHOOK", name="delete")
    add(
        webhooks,
        try_webhook,
        "sill webhooks test WEBHOOK",
        "sill webhooks test WEBHOOK --event run.failed",
        name="test",
    )
    add(webhooks, list_deliveries, "sill webhooks deliveries WEBHOOK --dead", name="deliveries")
    add(webhooks, send_again, "sill webhooks send-again WEBHOOK DELIVERY", name="send-again")
    app.add_typer(webhooks, name="webhooks", rich_help_panel=PANEL)


def list_webhooks() -> None:
    """Webhooks of the project."""
    here = stages()
    found = here.webhooks.list().items
    rows = [
        (each.id, each.name, each.status.value, "yes" if each.has_secret else "no", ", ".join(each.events), each.url)
        for each in found
    ]
    columns = (Whole("id"), "name", "state", "signed", "events", "url")
    show_table(found, "", columns, rows, partial(nothing, here, "webhook", "sill webhooks add"), has_prose=True)


def add_webhook(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    url: Annotated[str, typer.Argument(help="The http or https address that is called.")],
    event: Annotated[list[str], typer.Option(help="What it is told of, such as run.failed; give it several times.")],
    signed: Annotated[bool, typer.Option("--signed", help="Sign with a secret read from standard input.")] = False,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Tell an address of events from now on."""
    secret = sys.stdin.read().strip() if signed else ""
    if signed and not secret:
        raise InvalidValue("the secret is empty.", fix="sill webhooks add … --signed < secret.txt")
    made = stages().webhooks.create(WebhookSpec(name=name, url=url, events=tuple(event), secret=secret, note=note))
    show_line(made, f"{made.id} is told of {', '.join(made.events)}.")


def change_webhook(
    webhook: WebhookId,
    url: Annotated[str | None, typer.Option(help="Another address.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="All it is told of from now on.")] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Another secret, read from standard input.")] = False,
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Tell it nothing, or again.")] = None,
) -> None:
    """Change where a webhook leads, what it is told of, or whether it is told."""
    status = None if disable is None else WebhookStatus.DISABLED if disable else WebhookStatus.ACTIVE
    secret = sys.stdin.read().strip() if signed else None
    change = WebhookChange(url=url, events=tuple(event) if event else None, secret=secret, status=status)
    made = stages().webhooks.update(webhook, change)
    show_line(made, f"{made.id} is {made.status.value}, told of {', '.join(made.events)}.")


def delete_webhook(webhook: WebhookId) -> None:
    """Forget a webhook and what is owed to it."""
    stages().webhooks.delete(webhook)
    show_line({"id": webhook}, f"{webhook} is told nothing any more.")


def try_webhook(
    webhook: WebhookId,
    event: Annotated[str, typer.Option(help="Which event to send an example of; the first it is told of.")] = "",
) -> None:
    """Send an example now, once. Exit code 1 if the receiver did not take it."""
    tested = stages().webhooks.test(webhook, event)
    answered = f"the receiver answered {tested.status}" + (f": {tested.body}" if tested.body else "")
    show_line(tested, tested.error or answered)
    if not tested.success:
        raise typer.Exit(1)


def list_deliveries(
    webhook: WebhookId,
    dead: Annotated[bool, typer.Option("--dead", help="Only those that were given up.")] = False,
) -> None:
    """What was sent to a webhook, waits, or was given up; kept for a week."""
    found = stages().webhooks.deliveries(webhook, state=DeliveryState.DEAD if dead else None).items
    rows = [(each.id, each.event, each.state.value, each.attempts, ago(each.created_us), each.reason) for each in found]
    columns = (Whole("id"), "event", "state", "attempts", "age", "why")
    show_table(found, webhook, columns, rows, "nothing was sent yet.", has_prose=True)


def send_again(
    webhook: WebhookId,
    delivery: Annotated[str, typer.Argument(help="Id of a delivery that was given up.")],
) -> None:
    """Try a delivery that was given up once more."""
    view = stages().webhooks.send_again(webhook, delivery)
    show_line(view, f"{view.id} is {view.state.value}.")
