"""webhooks: add, change, test, deliveries, delete."""

import json
from pathlib import Path

from tests.cli.terminal import Terminal

URL = "https://receiver.invalid/hook"


def test_a_webhook_is_added_changed_tried_and_forgotten(terminal: Terminal, shop: Path) -> None:
    here = ("-p", "shop")
    added = ("webhooks", "add", "ci", URL, "--event", "run.failed", "--signed", "--json", *here)
    made = json.loads(terminal.done(*added, said="hush-hush\n"))
    webhook = made["id"]

    assert "hush" not in str(made) + terminal.done("webhooks", "list", *here)
    assert terminal.json("webhooks", "change", webhook, "--disable", *here)["status"] == "disabled"
    tried = terminal.sill("webhooks", "test", webhook, *here)
    assert tried.code == 1
    assert "receiver.invalid" in tried.out + tried.err
    assert terminal.json("webhooks", "deliveries", webhook, "--dead", *here) == []
    terminal.sill("webhooks", "send-again", webhook, "whd-01jd0000000000000000", *here).refused("not_found", "whd-")
    assert "told nothing" in terminal.done("webhooks", "delete", webhook, *here)
    terminal.sill("webhooks", "change", webhook, "--enable", *here).refused("not_found", webhook)
