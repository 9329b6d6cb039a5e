"""Distributions, checked against published values and against one another."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.monitors.statistics import (
    binomial_at_least,
    binomial_at_most,
    chi_square_tail,
    holm,
    jensen_shannon,
    psi,
    shares,
)


@pytest.mark.parametrize(
    ("x", "degrees", "chance"),
    [(3.841459, 1, 0.05), (16.918978, 9, 0.05), (27.877165, 9, 0.001), (149.449253, 100, 0.001), (1e6, 9, 0.0)],
)
def test_chi_square_tail_is_the_tables(x: float, degrees: int, chance: float) -> None:
    assert chi_square_tail(x, degrees) == pytest.approx(chance, rel=1e-4)


@given(st.floats(0.001, 300), st.integers(1, 200))
def test_chi_square_tail_falls_from_one_to_zero(x: float, degrees: int) -> None:
    assert 0.0 <= chi_square_tail(x * 1.1, degrees) <= chi_square_tail(x, degrees) + 1e-12 <= 1.0 + 1e-12


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_binomial_tails_are_the_sums(trials: int, chance: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, trials))

    exact = sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(count, trials + 1))

    assert binomial_at_least(count, trials, chance) == pytest.approx(exact, rel=1e-6, abs=1e-12)
    assert binomial_at_most(trials - count, trials, 1 - chance) == pytest.approx(exact, rel=1e-6, abs=1e-12)


def test_equal_distributions_are_no_distance_apart() -> None:
    assert psi(shares([10, 20, 30]), shares([10, 20, 30])) == 0.0
    assert jensen_shannon([0.5, 0.5], [0.5, 0.5]) == 0.0


def test_distributions_without_anything_in_common_are_one_bit_apart() -> None:
    assert jensen_shannon([1.0, 0.0], [0.0, 1.0]) == 1.0


def test_psi_is_the_textbooks() -> None:
    assert psi([0.5, 0.5], [0.4, 0.6]) == pytest.approx(0.1 * math.log(0.6 / 0.4))


def test_holm_rejects_in_order_until_one_is_too_likely() -> None:
    assert holm([0.04, 0.001, 0.015], 0.05) == [True, True, True]
    assert holm([0.04, 0.001, 0.03], 0.05) == [False, True, False]
