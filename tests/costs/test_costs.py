"""Prices, energy, carbon, and their sums."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.accelerators import AcceleratorType
from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Ids, ManualClock
from sill.core.errors import InvalidValue, NotFound
from sill.core.settings import Settings
from sill.costs import rules
from sill.costs.rapl import Rapl
from sill.costs.service import Costs
from sill.costs.types import Cost, Usage
from sill.stores.database import Database, metadata, open_database

SETTINGS = Settings(carbon_g_per_kwh=400, price_usd_per_cpu_h=0.04, price_usd_per_gib_h=0.005, price_usd_per_gpu_h=2)
HOUR = Usage(wall_s=3600, cpu_s=3600, memory_gib_s=3600)
AMOUNTS = st.floats(0, 1e6).map(lambda seconds: round(seconds, 9))
"""Not the smallest numbers there are: sums of such are not exact."""
USAGES = st.builds(
    Usage,
    wall_s=AMOUNTS,
    cpu_s=AMOUNTS,
    memory_gib_s=AMOUNTS,
    accelerator_s=AMOUNTS,
    memory_bytes_max=st.integers(0, 10),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(database_url: str, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(database_url, clock)
    metadata.create_all(opened.engine)
    yield opened
    opened.close()


@pytest.fixture
def costs(database: Database, clock: ManualClock, tmp_path: Path) -> Costs:
    return Costs(database, clock, Ids(clock), SETTINGS, rapl=Rapl(tmp_path / "none"))


def test_an_hour_of_a_core_and_a_gib_costs_what_the_book_says() -> None:
    cost = rules.price(HOUR, SETTINGS)

    assert cost.usd == pytest.approx(0.045)
    assert cost.energy_wh == pytest.approx(3.5 + 0.392)
    assert cost.carbon_g == pytest.approx(cost.energy_wh / 1000 * rules.PUE * 400)


def test_a_modelled_figure_says_so_and_how_unsure_it_is() -> None:
    cost = rules.price(HOUR, SETTINGS)

    assert (cost.energy_source, cost.uncertainty) == ("modelled:cloud-carbon-footprint", 0.5)
    assert "carbon_g_per_kwh=400" in cost.carbon_source


def test_a_measured_figure_replaces_the_model() -> None:
    cost = rules.price(HOUR, SETTINGS, measured_wh=10.0)

    assert (cost.energy_wh, cost.energy_source, cost.uncertainty) == (10.0, "measured:rapl", 0.15)


def test_accelerators_are_modelled_even_beside_a_meter() -> None:
    cost = rules.price(Usage(accelerator_s=3600), SETTINGS, measured_wh=0.0)

    assert (cost.energy_wh, cost.usd, cost.energy_source) == (300.0, 2.0, rules.MODELLED)


def test_waiting_takes_idle_power() -> None:
    assert rules.modelled_wh(Usage(wall_s=3600)) == pytest.approx(0.74)


@given(st.lists(USAGES, max_size=8))
def test_the_price_of_a_sum_is_the_sum_of_the_prices(usages: list[Usage]) -> None:
    total = rules.add(rules.price(usage, SETTINGS) for usage in usages)

    assert total.usd == pytest.approx(rules.price(rules.add_usage(usages), SETTINGS).usd)
    assert 0 <= total.uncertainty <= 0.5 + 1e-9


@given(USAGES, USAGES)
def test_using_more_never_costs_less(one: Usage, more: Usage) -> None:
    alone, together = rules.price(one, SETTINGS), rules.price(rules.add_usage([one, more]), SETTINGS)

    assert together.usd >= alone.usd
    assert together.energy_wh >= alone.energy_wh - 1e-6


def test_nothing_used_costs_nothing() -> None:
    assert rules.add([]) == Cost(
        usage=Usage(), usd=0, energy_wh=0, carbon_g=0, energy_source="none", carbon_source="none", uncertainty=0
    )


class TestRapl:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for zone, name, uj in (
            ("intel-rapl:0", "package-0", 100),
            ("intel-rapl:0:0", "core", 50),
            ("intel-rapl:1", "dram", 9),
        ):
            (tmp_path / zone).mkdir()
            (tmp_path / zone / "name").write_text(name + "\n")
            (tmp_path / zone / "energy_uj").write_text(f"{uj}\n")
            (tmp_path / zone / "max_energy_range_uj").write_text("1000000000\n")
        return tmp_path

    def test_a_run_gets_its_part_of_what_the_machine_took(self, folder: Path) -> None:
        busy = iter([1_000.0, 1_100.0])
        meter = Rapl(folder, lambda: next(busy))
        (folder / "intel-rapl:0" / "energy_uj").write_text(str(100 + 720_000_000))

        assert meter.wh(50.0) == pytest.approx(0.1)  # 720 J, half of the CPU seconds

    def test_a_counter_that_wraps_goes_on(self, folder: Path) -> None:
        (folder / "intel-rapl:0" / "energy_uj").write_text("999000000")
        busy = iter([0.0, 10.0])
        meter = Rapl(folder, lambda: next(busy))
        (folder / "intel-rapl:0" / "energy_uj").write_text("35000000")

        assert meter.wh(10.0) == pytest.approx(36 / 3600)

    def test_without_a_meter_or_before_it_knows_there_is_no_figure(self, folder: Path, tmp_path: Path) -> None:
        assert Rapl(tmp_path / "none").wh(1.0) is None
        assert Rapl(folder, lambda: 5.0).wh(1.0) is None


@pytest.mark.anyio
async def test_a_report_adds_up_the_project_and_each_subject(
    database: Database, costs: Costs, clock: ManualClock
) -> None:
    for project, subject in (("churn", "run-1"), ("churn", "run-1"), ("churn", "ep"), ("theirs", "run-9")):
        await database.write(lambda tx, p=project, s=subject: costs.record(tx, p, "run", s, HOUR, predictions=3))
        clock.advance(10)
    report = await costs.report(PLATFORM, "churn")

    assert (report.predictions, set(report.by_subject)) == (9, {"run-1", "ep"})
    assert report.total.usd == pytest.approx(3 * costs.price(HOUR).usd)
    assert report.by_subject["run-1"].energy_wh == pytest.approx(2 * costs.price(HOUR).energy_wh)
    assert report.total.uncertainty == pytest.approx(0.5)


@pytest.mark.anyio
async def test_a_report_keeps_to_its_span(database: Database, costs: Costs, clock: ManualClock) -> None:
    start = clock.now_us()
    for _ in range(3):
        await database.write(lambda tx: costs.record(tx, "churn", "run", "r", HOUR))
        clock.advance(10)

    report = await costs.report(PLATFORM, "churn", since_us=start + 10_000_000, until_us=start + 20_000_000)
    assert report.total.usage.cpu_s == 3600
    with pytest.raises(InvalidValue):
        await costs.report(PLATFORM, "churn", since_us=2, until_us=1)


@pytest.mark.anyio
async def test_a_record_commits_with_its_transaction_or_not_at_all(database: Database, costs: Costs) -> None:
    def work(tx: object) -> None:
        costs.record(tx, "churn", "run", "r", HOUR)  # type: ignore[arg-type]
        raise ValueError("the run could not end")

    with pytest.raises(ValueError):
        await database.write(work)
    assert (await costs.report(PLATFORM, "churn")).total.usd == 0


@pytest.mark.anyio
async def test_another_tenants_costs_are_not_found(costs: Costs) -> None:
    with pytest.raises(NotFound):
        await costs.report(Actor(id="t", scopes=frozenset({"*"}), projects=frozenset({"mine"})), "theirs")


def test_a_kind_with_a_price_and_power_of_its_own_counts_with_them(tmp_path: Path) -> None:
    kinds = (AcceleratorType(name="h200", price_usd_per_h=3.6, power_w=700), AcceleratorType(name="fpga"))
    clock = ManualClock()
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}", clock)
    costs = Costs(database, clock, Ids(clock), SETTINGS, accelerators=kinds, rapl=Rapl(tmp_path / "none"))
    dear, plain, unknown = (costs.price(Usage(accelerator_s=3600, accelerator=name)) for name in ("h200", "fpga", ""))
    database.close()

    assert (dear.usd, dear.energy_wh) == (3.6, 700)
    assert (plain.usd, plain.energy_wh) == (unknown.usd, unknown.energy_wh) == (SETTINGS.price_usd_per_gpu_h, 300)
