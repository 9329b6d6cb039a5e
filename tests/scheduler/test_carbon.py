"""Work that may wait starts when running costs least, never later than agreed."""

import pytest

from sill.core.errors import InvalidValue
from sill.scheduler.carbon import Prices, blend, cheapest_start_us
from sill.scheduler.decide import decide
from sill.scheduler.forecasting import Forecaster
from sill.scheduler.types import Action, Ended, Job, Priced, Start, Submitted, Tick
from sill.testing.scheduling import cluster, state

HOUR_US = 3_600_000_000


def started(actions: list[Action]) -> list[str]:
    return [action.job_id for action in actions if isinstance(action, Start)]


def patient(until_h: int, runs_h: float = 1.0) -> Job:
    return Job(id="a", accelerators=1, estimate_s=runs_h * 3600, start_by_us=until_h * HOUR_US)


def test_the_cheapest_start_is_found_between_now_and_the_latest() -> None:
    prices = Prices(0, 3600.0, (9, 5, 7, 1, 8))

    assert cheapest_start_us(prices, 0, 4 * HOUR_US, 3600) == (3 * HOUR_US, 3600.0)
    assert cheapest_start_us(prices, 0, 2 * HOUR_US, 3600)[0] == HOUR_US
    assert cheapest_start_us(prices, 0, 4 * HOUR_US, 7200)[0] == 2 * HOUR_US


def test_beyond_a_forecast_its_last_slots_hold_on_the_mean() -> None:
    assert Prices(0, 3600.0, (2, 4)).cost(HOUR_US, 3 * 3600) == pytest.approx((4 + 3 + 3) * 3600)


def test_money_and_carbon_are_one_price() -> None:
    assert blend((0.1, 0.2), (500, 100), usd_per_kg=0.2) == pytest.approx((0.2, 0.22))


def test_a_forecast_without_slots_is_refused() -> None:
    with pytest.raises(InvalidValue, match="0 prices"):
        Prices(0, 3600.0, ())


def test_a_job_that_opted_in_waits_for_the_cheap_hour_and_others_do_not() -> None:
    of = state(cluster(1, 8))
    decide(of, Priced(start_us=0, values=(9, 9, 1, 9)), 0)

    assert started(decide(of, Submitted(job=Job(id="now", accelerators=1)), 0)) == ["now"]
    assert started(decide(of, Submitted(job=patient(3)), 0)) == []
    assert started(decide(of, Tick(), 2 * HOUR_US)) == ["a"]


def test_a_new_forecast_is_taken_into_account() -> None:
    of = state(cluster(1, 8))
    decide(of, Priced(start_us=0, values=(9, 9, 1, 9)), 0)
    decide(of, Submitted(job=patient(3)), 0)

    assert started(decide(of, Priced(start_us=HOUR_US, values=(2, 5, 6, 7)), HOUR_US)) == ["a"]


def test_a_price_that_only_falls_never_makes_a_job_late() -> None:
    of = state(cluster(1, 8))
    decide(of, Priced(start_us=0, values=tuple(range(100, 0, -1))), 0)
    decide(of, Submitted(job=patient(5)), 0)
    assert started(decide(of, Tick(), 5 * HOUR_US - 1)) == []

    assert started(decide(of, Tick(), 5 * HOUR_US)) == ["a"]
    assert started(decide(of, Ended(job_id="a", attempt=1), 6 * HOUR_US)) == []


def test_a_forecast_learns_the_day_and_what_the_last_hours_say() -> None:
    forecaster = Forecaster(horizon=24)
    values = [100 + 30 * (hour % 24 > 11) + 20 * (hour // 24 % 2) for hour in range(24 * 40)]
    for value in values:
        forecaster.observe(value)

    ahead = forecaster.forecast()
    following = [100 + 30 * (hour % 24 > 11) + 20 * (hour // 24 % 2) for hour in range(24 * 40, 24 * 41)]
    assert max(abs(ours - true) for ours, true in zip(ahead, following, strict=True)) < 12


def test_a_missing_value_is_taken_as_forecast() -> None:
    forecaster = Forecaster()
    for value in (5.0, 5.0, float("nan"), 5.0):
        forecaster.observe(value)

    assert forecaster.forecast()[0] == pytest.approx(5.0)
