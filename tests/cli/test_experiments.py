"""runs compare, note, delete, restore; experiments: over a running platform."""

from tests.cli.terminal import Terminal


def done(terminal: Terminal, experiment: str, name: str) -> str:
    """The id of a run of an experiment that is over."""
    ended = terminal.json("run", "--no-code", "--name", name, "--experiment", experiment, "--", "true")
    return str(ended["id"])


def test_an_experiment_is_made_changed_deleted_and_restored(terminal: Terminal) -> None:
    made = terminal.json("experiments", "create", "tuning one", "--tag", "team=vision")
    changed = terminal.done("experiments", "change", made["id"], "--name", "tuned", "--no-tag", "team", "--tag", "a=b")
    listed = terminal.done("experiments", "list", "--filter", "name LIKE 'tune%'")
    gone = terminal.done("experiments", "delete", made["id"])

    assert changed == f"experiment {made['id']}: tuned a=b\n"
    assert "tuned" in listed
    assert "can be restored until" in gone
    assert "tuned" in terminal.done("experiments", "list", "--deleted")
    assert terminal.done("experiments", "restore", made["id"]) == f"experiment {made['id']}: tuned is back.\n"


def test_runs_are_compared_noted_deleted_and_restored(terminal: Terminal) -> None:
    first, second = done(terminal, "side by side", "one"), done(terminal, "side by side", "two")
    terminal.done("runs", "note", first, "lower rate\n*same* data")
    said = terminal.done("runs", "compare", first, second)
    found = terminal.json("runs", "compare", first, second, "--all")

    assert terminal.done("runs", "note", first) == "lower rate\n*same* data\n"
    assert "lower rate *same* data" in said
    assert "experiment" not in said  # the same in both
    assert found["runs"] == [first, second]
    assert {"kind": "field", "key": "experiment", "values": ["side by side", "side by side"]} in found["rows"]
    assert "restored until" in terminal.done("runs", "delete", first)
    assert first in terminal.done("runs", "list", "--deleted")
    assert terminal.done("runs", "restore", first) == "back: 1 run.\n"
    assert "erased 1 run:" in terminal.done("runs", "delete", first, "--now")
    assert terminal.sill("runs", "note", first).code == 2


def test_the_time_of_restoring_is_set_by_project(terminal: Terminal) -> None:
    assert terminal.done("runs", "retention") == "deleted things can be restored for 30 days.\n"
    assert terminal.json("runs", "retention", "--days", "7")["days"] == 7
    assert terminal.sill("experiments", "change", "0").code == 2


def test_runs_are_found_by_what_they_logged(terminal: Terminal) -> None:
    run = done(terminal, "found", "deep")
    terminal.done("runs", "note", run, "seek me")
    where = "tags.`mlflow.note.content` LIKE 'seek%' and run_name = 'deep'"

    assert run in terminal.done("runs", "search", where, "--order", "metrics.loss", "--limit", "1")
    assert [found["run"]["id"] for found in terminal.json("runs", "search", where)] == [run]
    assert terminal.sill("runs", "search", "tags.x").code == 2
