"""What is taken out of service by hand is so in every process of a home, and stays so when one starts again."""

import os
from pathlib import Path

from sill.traffic.by_hand import ByHand

PLACE = ("flowers", "species.v2")


def test_what_one_process_takes_out_the_others_hear_of(tmp_path: Path) -> None:
    one, other = ByHand(tmp_path / "unloaded"), ByHand(tmp_path / "unloaded")
    heard: list[frozenset[tuple[str, str]]] = []
    other.changed = heard.append

    one.take_out(PLACE)
    other.look()
    assert other.places == {PLACE}
    other.bring_back(PLACE)
    one.look()

    assert one.places == frozenset()
    assert heard == [{PLACE}, frozenset()]


def test_two_wishes_within_one_tick_of_the_file_system_s_clock_are_both_heard_of(tmp_path: Path) -> None:
    one, other = ByHand(tmp_path), ByHand(tmp_path)
    one.take_out(PLACE)
    tick_ns = tmp_path.stat().st_mtime_ns
    other.look()
    one.bring_back(PLACE)
    os.utime(tmp_path, ns=(tick_ns, tick_ns))
    other.look()

    assert other.places == frozenset()


def test_a_process_that_starts_again_finds_what_was_wished(tmp_path: Path) -> None:
    ByHand(tmp_path).take_out(PLACE)

    assert ByHand(tmp_path).places == {PLACE}


def test_one_that_is_alone_needs_no_folder() -> None:
    alone = ByHand()
    alone.take_out(PLACE)
    alone.look()

    assert alone.places == {PLACE}
