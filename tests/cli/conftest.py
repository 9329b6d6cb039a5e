"""One platform for all tests of the command line, a small project in it, and a terminal."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.terminal import Terminal

from sill.testing.live import Live

PROJECT = """
import sill

print("a project file may print")
shop = sill.Project("shop", note="customers that leave")
customers = shop.table(
    "customers",
    key="customer_id",
    time="seen_at",
    rules=[sill.not_null("customer_id"), sill.between("age", low=0, high=120)],
)
shop.ingest(customers, sill.read("data/customers.csv", times=("seen_at",)))
profile = shop.features(
    "profile",
    entity="customer_id",
    source=customers,
    sql="select customer_id, seen_at, churned, age, income from customers",
)


@shop.train(data=profile, label="churned", gate=sill.Gate(metric="accuracy", minimum=0.5), holdout=0.3)
def churn(data, params, run):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(data.X, data.y)


shop.endpoint("churn", model=churn, retrain=sill.on_drift())
nightly = shop.pipeline("nightly")


@nightly.step
def count(params, inputs, run):
    print("counting", flush=True)
    return {"rows": 3}
"""
ROWS = 120


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running platform with two cores for runs, whatever the machine has."""
    live = Live(tmp_path_factory.mktemp("cli") / "home", SILL_CPUS="2")
    try:
        yield live.start()
    finally:
        live.stop()


@pytest.fixture(scope="session")
def terminal(platform: Live, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """Stands in an empty folder."""
    return Terminal(platform.home, platform.port, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def shop(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of project `shop`, which was applied and whose table is filled."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "data").mkdir()
    (folder / "project.py").write_text(PROJECT)
    write_customers(folder / "data" / "customers.csv")
    first = terminal.sill("apply", "--json", cwd=folder)
    assert first.code == 0, first
    assert {change["change"] for change in first.json["changes"]} == {"created"}
    ingested = terminal.sill("-p", "shop", "ingest", "customers")
    assert ingested.code == 0, ingested
    assert "119 written" in ingested.out
    return folder


@pytest.fixture(scope="session")
def served(terminal: Terminal, shop: Path) -> str:
    """The project with a trained model that answers."""
    ended = terminal.sill("train", "churn", "-p", "shop", cwd=shop)
    assert ended.code == 0, ended
    return "shop"


def write_customers(path: Path) -> None:
    """Customers, one of them impossibly old."""
    chance = random.Random(1)
    lines = ["customer_id,seen_at,age,income,churned"]
    for at in range(ROWS):
        age, income = chance.randint(18, 80), chance.gauss(40, 10)
        leaves = "yes" if age + income / 2 + chance.gauss(0, 5) > 70 else "no"
        lines.append(f"c{at},2026-01-{at % 28 + 1:02d}T10:00:00Z,{500 if at == 7 else age},{income:.2f},{leaves}")
    path.write_text("\n".join(lines) + "\n")
