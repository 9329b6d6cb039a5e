"""relay, spool."""

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.terminal import SILL, Terminal

from sill.sdk.journal import Journal
from sill.sdk.journal_files import Entry
from sill.sdk.spool_place import write_place

ASK = """
import os, sys, urllib.request
request = urllib.request.Request(
    os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/experiments/get?experiment_id=0",
    headers={"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]},
)
print(urllib.request.urlopen(request).status)
sys.exit(int(sys.argv[1]))
"""
READY_S = 30.0


@pytest.fixture
def left(terminal: Terminal, tmp_path: Path) -> Path:
    """A spool with a tag for a run, and one for a run that is not there."""
    run_id = terminal.json("run", "--detach", "--no-code", "--", "true")["id"]
    folder = terminal.home / "spool" / f"sdk-{tmp_path.name}"
    journal = Journal(folder)
    write_place(folder, f"http://127.0.0.1:{terminal.environment['SILL_PORT']}")
    for each in (run_id, "run-00000000"):
        body = f'{{"run_id": "{each}", "key": "left", "value": "1"}}'.encode()
        headers = {"Content-Type": "application/json"}
        journal.append(Entry(method="POST", path="/api/2.0/mlflow/runs/set-tag", headers=headers, body=body))
    journal.close()
    (tmp_path / "run").write_text(run_id)
    return folder


def test_a_command_runs_against_a_relay_and_its_exit_code_is_told(terminal: Terminal) -> None:
    well = terminal.sill("relay", "--", "python", "-c", ASK, "0")
    badly = terminal.sill("relay", "--", "python", "-c", ASK, "7")

    assert (well.code, well.out.splitlines()[-1]) == (0, "200"), well
    assert badly.code == 7


def test_a_relay_that_stays_tells_what_to_set(terminal: Terminal) -> None:
    with subprocess.Popen(
        [SILL, "relay", "--port", "0", "--json"],
        env=terminal.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as relay:
        assert relay.stdout is not None
        assert select.select([relay.stdout], [], [], READY_S)[0]
        said = os.read(relay.stdout.fileno(), 10_000)
        os.killpg(relay.pid, signal.SIGINT)
        assert relay.wait(READY_S) == 0

    assert b"MLFLOW_TRACKING_URI" in said
    assert b"sill_" in said


def test_what_is_left_is_listed_sent_and_what_was_refused_is_told(
    terminal: Terminal, left: Path, tmp_path: Path
) -> None:
    (before,) = terminal.sill("spool", "--json").json
    sent = terminal.sill("spool", "flush")
    (after,) = terminal.sill("spool", "--json").json
    again = terminal.sill("spool", "retry")
    data = terminal.json("metrics", (tmp_path / "run").read_text())

    assert (before["folder"], before["waiting"]) == (str(left), 2)
    assert (sent.code, after["waiting"], after["refused"]) == (1, 0, 1)
    assert again.code == 1  # the run is still not there
    assert data["tags"]["left"] == "1"
    (left / "refused.jsonl").unlink()
    assert terminal.done("spool") == "everything that was logged here has arrived.\n"
