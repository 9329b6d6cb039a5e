"""Workloads are read from tables and refused with the line that is wrong; what comes out is a table, or a page."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sill.cli.commands import app
from sill.cli.queues import quantities
from sill.cli.spans import span_s
from sill.cli.workloads import from_table, from_trace
from sill.core.errors import InvalidValue, NotFound

TABLE = "submitted_s,runtime_s,accelerators,workers\n0,100,8,1\n5,50,4,1\n6,500,8,2\n7,20,1,1\n"


def test_policies_are_compared_on_a_table_of_jobs(tmp_path: Path) -> None:
    jobs, page = tmp_path / "jobs.csv", tmp_path / "waits.html"
    jobs.write_text(TABLE)

    asked = ["simulate", "--jobs", str(jobs), "--nodes", "2", "--policy", "sill,fifo", "--html", str(page)]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    first = [line.split()[0] for line in told.output.splitlines()]
    assert first[:3] == ["policy", "sill", "fifo"]  # a narrow terminal says below which columns it had no room for
    written = page.read_text()
    assert written.count("<figure>") == 5  # use, waiting jobs, waits of all, and waits by size for each policy
    assert written.count("<polyline") == 3 * 2 + 2 * 4
    assert "<script" not in written
    assert "http" not in written.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runtime_s\n1\n", "'submitted_s' is unknown or missing"),
        ("submitted_s,runtime_s,colour\n0,1,red\n", "'colour' is unknown"),
        ("submitted_s,runtime_s\n0,1\n0,nan\n", "line 3"),
        ("submitted_s,runtime_s\n0,-1\n", "below 0"),
        ("submitted_s,runtime_s\n0\n", "line 2"),
        ("submitted_s,runtime_s,accelerators\n0,1,1.5\n", "neither a part of one device"),
        ("submitted_s,runtime_s,workers\n0,1,0.4\n", "workers 0"),
        ("submitted_s,runtime_s,cpus\n0,1,-2\n", "cpus -2.0"),
        ("submitted_s,runtime_s\n0,1,2\n", "too many"),
    ],
)
def test_a_table_that_means_nothing_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(text)
    with pytest.raises(InvalidValue, match=says):
        from_table(jobs, 1, 8, 64, 512)


def test_a_trace_that_is_not_there_says_where_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACES", str(tmp_path))
    with pytest.raises(NotFound, match="published at"):
        from_trace("philly", 0)
    with pytest.raises(InvalidValue, match="is not known"):
        from_trace("../etc/passwd", 0)


def test_quantities_and_spans_are_read() -> None:
    assert quantities("cpus=4, memory=16GiB,accelerators/a100=8", "--add") == {
        "cpus": 4.0,
        "memory_bytes": 16 * 1024.0**3,
        "accelerators/a100": 8.0,
    }
    assert [span_s(text, "--last") for text in ("90s", "24h", "7d")] == [90.0, 86_400.0, 604_800.0]
    for wrong in ("cpus", "cpus=x", "cpus=4q"):
        with pytest.raises(InvalidValue):
            quantities(wrong, "--add")
    with pytest.raises(InvalidValue):
        span_s("soon", "--last")
