"""The demonstrations, told whole in processes of their own: what `sill demo --json` measures is what was promised."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECONDS_MAX = 300
"""When a telling is given up. How long it may take on a calm machine is `bench`'s to measure."""

Facts = dict[str, Any]


def tell(*arguments: str, home: Path) -> Facts:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILL_")}
    environment |= {"TMPDIR": str(home)}
    told = subprocess.run(
        [sys.executable, "-c", "from sill.cli.main import main; main()", "demo", *arguments, "--json"],
        env=environment,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert told.returncode == 0, (told.stdout + told.stderr).decode()[-5000:]
    assert list(home.glob("sill-*")) == [], "the demo left something behind"
    facts: Facts = json.loads(told.stdout)
    return facts


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """The main story, told once for all tests of this file."""
    return tell(home=tmp_path_factory.mktemp("cancer"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """The story with images and PyTorch."""
    pytest.importorskip("torch")
    return tell("digits", home=tmp_path_factory.mktemp("digits"))


def links(facts: Facts) -> dict[str, dict[str, Any]]:
    return {link["what"]: link for link in facts["explained"]["chain"]}


def test_every_fault_in_the_files_is_repaired_or_set_aside_with_its_reason(cancer: Facts) -> None:
    mess, report = cancer["mess"], cancer["ingest"]

    assert report["rows_in"] == 569 + mess["duplicates"] + mess["without_patient"]
    assert report["rows_dropped"] == mess["duplicates"]
    assert report["quarantined"] == {
        "patient_id is missing": mess["without_patient"],
        "diagnosis is not one of malignant, benign": mess["unknown_diagnosis"],
        "worst_area is not at least 0": mess["negative"],
    }
    assert report["rows_written"] == report["rows_in"] - report["rows_dropped"] - report["rows_quarantined"]
    assert 0 < report["rows_repaired"] <= mess["missing_cells"]
    assert sum(report["repaired"].values()) >= report["rows_repaired"]


def test_three_families_were_tried(cancer: Facts) -> None:
    assert cancer["trials"]["families"] == ["linear", "net", "trees"]


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_versions_one_and_two_passed_every_check_of_the_gate(story: str, request: pytest.FixtureRequest) -> None:
    versions = request.getfixturevalue(story)["versions"]

    assert set(versions) == {"1", "2"}
    for version in versions.values():
        assert version["state"] == "accepted"
        assert version["gate"]["passed"]
        assert all(check["passed"] and check["observed"] for check in version["gate"]["checks"])
    assert {"improvement", "confidence"} <= {check["name"] for check in versions["2"]["gate"]["checks"]}


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_no_request_failed(story: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(story)

    assert facts["requests"]["failed"] == 0
    assert facts["requests"]["sent"] == facts["cost"]["predictions"] > 500


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_the_alarm_came_after_the_shift_and_not_before(story: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(story)

    assert facts["calm"]["alarms"] == facts["drift"]["alarms_before_the_shift"] == 0
    assert 0 < facts["drift"]["requests_until_alarm"] <= 300
    assert "columns shifted" in facts["drift"]["summary"]


def test_the_alarm_names_the_two_readings_that_were_shifted(cancer: Facts) -> None:
    assert {"worst_perimeter", "worst_smoothness"} <= set(cancer["drift"]["evidence"]["shifted"])


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_the_second_version_came_through_shadow_and_canary(story: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(story)
    path = facts["rollout"]["path"]

    assert path[0] in ("pending", "shadow")
    assert any(state.startswith("canary") for state in path)
    assert path[-1] == "live 100 %"
    assert facts["retrain"]["labels"] > 0


def test_the_worse_model_never_got_more_than_the_first_step_of_the_traffic(cancer: Facts) -> None:
    worse = cancer["worse"]

    assert worse["state"] == "rejected"
    assert not worse["gate"]["passed"]
    assert 0 <= worse["share_max_percent"] <= worse["first_step_percent"]
    assert worse["stopped_because"]


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_the_explained_answer_leads_to_its_source_row(story: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(story)
    chain = links(facts)

    assert list(chain)[:5] == ["answer", "model version", "run", "code", "snapshot"]
    assert chain["model version"]["facts"]["model_version"] == "2"
    assert facts["versions"]["2"]["run"] in chain["run"]["address"]
    assert len(chain["code"]["facts"]["digest"]) == 64
    assert int(chain["snapshot"]["facts"]["version"]) == facts["ingest"]["snapshot_id"]
    assert int(chain["source"]["facts"]["rows"]) > 0
    assert len(chain["source"]["facts"]["digest"]) == 64
    assert all(value for link in chain.values() for value in link["facts"].values())


def test_the_source_row_is_the_line_that_was_written(cancer: Facts, digits: Facts) -> None:
    assert links(cancer)["source"]["address"].rpartition("/")[2] in ("clinic_north.csv", "clinic_south.jsonl")
    entity = digits["explained"]["request"]["entity"]["name"]
    assert links(digits)["source"]["address"].endswith(f"images.zip/{entity}")


@pytest.mark.parametrize("story", ["cancer", "digits"])
def test_the_totals_are_told_in_seconds_money_energy_and_carbon(story: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(story)
    cost = facts["cost"]

    assert facts["seconds"] > 0
    assert all(cost[unit] > 0 for unit in ("cpu_seconds", "usd", "energy_wh", "carbon_g"))
    assert cost["energy_source"]
    assert cost["carbon_source"]
    assert next(step["name"] for step in facts["steps"]) == "start"
    assert all(step["lines"] for step in facts["steps"])
