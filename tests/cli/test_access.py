"""audit, events, tokens, secrets, projects, costs, lineage."""

from pathlib import Path

from tests.cli.terminal import Terminal


def test_the_log_is_verified_and_read(terminal: Terminal, shop: Path) -> None:
    assert "whole" in terminal.done("audit", "verify")
    assert terminal.json("audit", "verify")["broken_at"] == 0
    events = terminal.json("audit", "events", "--limit", "3", "--kind", "table.", "-p", "shop")
    assert {event["kind"].partition(".")[0] for event in events["items"]} == {"table"}
    assert "project.created" in terminal.done("audit", "events", "-p", "shop")


def test_a_token_is_shown_once_listed_and_ended(terminal: Terminal) -> None:
    made = terminal.json("tokens", "create", "ci", "--role", "reader")
    token = made["token"]["id"]

    assert terminal.done("ps", SILL_TOKEN=made["secret"])
    assert token in terminal.done("tokens", "list")
    assert made["secret"] not in terminal.done("tokens", "list", "--all", "--json")
    assert "is revoked" in terminal.done("tokens", "revoke", token)
    assert token not in terminal.done("tokens", "list")
    terminal.refused(("unauthenticated|not known", "ps"), SILL_TOKEN="sill_wrong")


def test_a_secret_is_read_from_standard_input_and_never_shown(terminal: Terminal, shop: Path) -> None:
    kept = terminal.done("secrets", "put", "warehouse", "-p", "shop", said="hunter2\n")

    assert "hunter2" not in kept + terminal.done("secrets", "list", "-p", "shop")
    assert terminal.json("secrets", "list", "-p", "shop") == ["warehouse"]
    assert "is gone" in terminal.done("secrets", "delete", "warehouse", "-p", "shop")
    terminal.sill("secrets", "delete", "warehouse", "-p", "shop").refused("not_found", "warehouse")
    terminal.sill("secrets", "delete", "../tables/customers", "-p", "shop").refused(
        "invalid_value", "'..' is not a name"
    )
    terminal.sill("secrets", "put", "warehouse", "-p", "shop").refused("invalid_value", "empty")


def test_projects_and_costs_are_told(terminal: Terminal, shop: Path) -> None:
    assert "customers that leave" in terminal.done("projects")
    assert terminal.json("costs", "-p", "shop")["total"]["usd"] > 0
    assert "total" in terminal.done("costs", "-p", "shop")


def test_what_a_model_was_made_from_is_told_both_ways(terminal: Terminal, served: str) -> None:
    edges = terminal.json("lineage", f"sill://{served}/models/churn/1")["edges"]
    run = next(edge["source"] for edge in edges if edge["kind"] == "registered")
    shown = terminal.done("lineage", run, "--down")

    assert shown.startswith(f"{run}\n")
    assert f"sill://{served}/models/churn/1" in shown


def test_what_is_not_allowed_is_refused(terminal: Terminal, shop: Path) -> None:
    terminal.refused(
        ("invalid_value|Missing command|sill audit --help", "audit"),
        ("invalid_value|'king'|reader, developer", "tokens", "create", "x", "--role", "king"),
        ("not_found|warehouse", "secrets", "delete", "warehouse"),
        ("invalid_value|'..' is not a name", "secrets", "delete", "../tables/customers"),
        ("invalid_value|empty", "secrets", "put", "warehouse"),
        ("invalid_value|'bogus' is not an address|sill://PROJECT", "lineage", "bogus"),
        SILL_PROJECT="shop",
    )
