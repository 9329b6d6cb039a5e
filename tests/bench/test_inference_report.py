"""What the inference bench makes of its figures."""

import xml.etree.ElementTree as tree
from pathlib import Path

import pytest
from bench.inference.goals import goals
from bench.inference.report import BEGIN, END, main, tables
from bench.inference.results import SILL, Direct, Figure, ModelResults, Results, Served, read, write


def served(title: str, *figures: Figure) -> Served:
    return Served(title, memory_mb=80.0, cold_s=1.0, figures=figures, refused={})


def figure(per_s: float, ours_per_s: float = 0.0, protocol: str = "json") -> Figure:
    return Figure(protocol, 64, per_s, 1.0, 4.0, 0, 50.0, ours_per_s, ours_p99_ms=2.0)


@pytest.fixture
def results() -> Results:
    found = ModelResults(Direct(row_ms=0.005, wide_row_ms=0.006, best="16 wide", per_s=1e6))
    found.servers[SILL] = served("Sill", figure(30_000), figure(60_000, protocol="grpc"))
    found.servers["mlflow"] = served("MLflow <3>", figure(1_000, ours_per_s=24_000))
    found.servers["tuned"] = served("By hand", figure(10_000, ours_per_s=20_000))
    return Results(["today"], {"tabular": found})


def test_a_goal_is_judged_by_the_two_neighbours(results: Results) -> None:
    judged = {(goal.what, goal.connections): goal for goal in goals(results)}
    mlflow = judged["tabular, json, beside MLflow <3>", 64]
    assert (mlflow.found, mlflow.is_met) == (24.0, True)
    assert not judged["tabular, json, beside the hand-written server's JSON", 64].is_met


def test_other_protocols_stand_beside_the_bridge_by_how_they_stand_beside_json(results: Results) -> None:
    (grpc,) = [goal for goal in goals(results) if "grpc" in goal.what]
    assert grpc.found == pytest.approx(2.0 * 60_000 / 30_000)


def test_a_later_run_replaces_what_it_measured_again_and_keeps_the_rest(results: Results, tmp_path: Path) -> None:
    later = ModelResults(Direct(0.004, 0.004, "8 wide", 2e6), {"mlflow": served("MLflow", figure(2_000))})
    write(results, tmp_path / "found.json")
    kept = read(tmp_path / "found.json")
    kept.add(Results(["tomorrow"], {"tabular": later}))
    assert kept.models["tabular"].servers["mlflow"].figures[0].per_s == 2_000
    assert set(kept.models["tabular"].servers) == {SILL, "mlflow", "tuned"}
    assert kept.taken == ["today", "tomorrow"]


def test_a_page_keeps_what_lies_around_the_tables_and_gets_a_picture(results: Results, tmp_path: Path) -> None:
    write(results, tmp_path / "found.json")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        main([str(tmp_path / "found.json"), str(page)])
    assert page.read_text() == f"before\n{BEGIN}\n" + "\n".join(tables(results)) + f"\n{END}\nafter\n"
    assert tree.fromstring((tmp_path / "inference.svg").read_text()).tag.endswith("svg")
