"""Who shows no sign of life is found out; who watches and was stopped himself accuses nobody."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.api.child_process import LOCK_FILE
from sill.api.heartbeat import BLIND_S, FIRST_BEAT_S, LOOK_S, SILENT_S, WORKING_S, Watch
from sill.api.serving_life import BEAT_FILE

NOBODY = str(1 << 30)
"""No process has this number: systems give none above 2^22."""


class Patient:
    """A process's folder, and who watches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch = Watch(folder)
        self.now_s = 0.0
        self.is_reborn(NOBODY)

    def is_reborn(self, process: str) -> None:
        (self.folder / LOCK_FILE).write_text(process)

    def beats(self) -> None:
        (self.folder / BEAT_FILE).touch()
        os.utime(self.folder / BEAT_FILE, ns=(0, int(self.now_s * 1e9) + 1))

    def is_found_silent_within(self, seconds: float) -> bool:
        """Look, every `LOOK_S`, for so long."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s += LOOK_S
            if self.watch.is_silent(self.now_s):
                return True
        return False


def test_one_that_beat_and_stopped_is_silent_soon(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    for _ in range(2):
        patient.beats()
        assert not patient.is_found_silent_within(SILENT_S)

    assert patient.is_found_silent_within(2 * LOOK_S)


def test_a_young_process_may_take_long_for_its_first_beat(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.beats()  # its predecessor's

    assert not patient.is_found_silent_within(FIRST_BEAT_S)
    assert patient.is_found_silent_within(2 * LOOK_S)


def test_one_of_a_release_that_shows_no_beat_is_left_alone(tmp_path: Path) -> None:
    assert not Patient(tmp_path).is_found_silent_within(2 * FIRST_BEAT_S)


def test_the_successor_of_a_silent_one_begins_anew(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    for _ in range(2):
        patient.beats()
        patient.is_found_silent_within(LOOK_S)
    assert patient.is_found_silent_within(2 * SILENT_S)

    patient.is_reborn(NOBODY + "0")

    assert not patient.is_found_silent_within(2 * SILENT_S)


def test_who_was_stopped_himself_looks_again_first(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    for _ in range(2):
        patient.beats()
        patient.is_found_silent_within(LOOK_S)
    patient.now_s += 100 * BLIND_S

    assert not patient.is_found_silent_within(SILENT_S)


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A process that works and never comes to say so."""
    with subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_one_that_works_or_waits_for_a_processor_is_given_longer(
    tmp_path: Path, spinning: subprocess.Popen[bytes]
) -> None:
    patient = Patient(tmp_path)
    patient.is_reborn(str(spinning.pid))
    for _ in range(2):
        patient.beats()
        patient.is_found_silent_within(LOOK_S)

    assert not patient.is_found_silent_within(WORKING_S - 2 * LOOK_S)
    assert patient.is_found_silent_within(4 * LOOK_S)


def test_one_that_was_stopped_is_not(tmp_path: Path, spinning: subprocess.Popen[bytes]) -> None:
    patient = Patient(tmp_path)
    patient.is_reborn(str(spinning.pid))
    for _ in range(2):
        patient.beats()
        patient.is_found_silent_within(LOOK_S)
    spinning.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, spinning.pid, os.WSTOPPED)

    assert patient.is_found_silent_within(SILENT_S + LOOK_S)
