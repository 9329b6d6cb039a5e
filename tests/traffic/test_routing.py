"""Traffic goes where the weights say, the same request always the same way."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sill.traffic.routing import choose, is_sampled, place


@dataclass(frozen=True)
class Revision:
    number: int
    weight: int


KEYS = [f"req-{i}" for i in range(4_000)]


def test_shares_converge_on_the_weights() -> None:
    both = [Revision(2, 10), Revision(1, 90)]

    share = sum(choose(both, key, "churn") == both[0] for key in KEYS) / len(KEYS)

    assert abs(share - 0.10) < 0.02


def test_a_rising_canary_only_gains_requests() -> None:
    before, after = ([Revision(2, weight), Revision(1, 100 - weight)] for weight in (10, 50))

    assert all(choose(after, key, "c").number == 2 for key in KEYS if choose(before, key, "c").number == 2)


@given(st.text(), st.text(), st.lists(st.integers(0, 100), max_size=5))
def test_the_choice_depends_on_the_key_alone_and_is_never_a_revision_without_weight(
    key: str, salt: str, weights: list[int]
) -> None:
    revisions = [Revision(number, weight) for number, weight in enumerate(weights)]
    chosen = choose(revisions, key, salt)

    assert chosen == choose(revisions, key, salt)
    assert chosen is None if sum(weights) == 0 else chosen is not None and chosen.weight > 0


@given(st.text())
def test_a_place_is_within_the_unit_interval(key: str) -> None:
    assert 0 <= place(key, "s") < 1
    assert is_sampled(key, 1.0)
    assert not is_sampled(key, 0.0)
