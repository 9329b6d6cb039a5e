"""Beside a run: gauges that are sampled, and a relay that is there once somebody calls it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sill.engines.local import nvml
from sill.engines.local.engine import LocalEngine
from sill.engines.local.gauges import Gauges
from sill.engines.local.samples import read_samples
from sill.engines.local.sampling import EVERY_S, FEWER_AFTER, FIRST_S, NAME, Samples
from sill.engines.types import Life

from .test_local import ended, log, until

Start = Callable[..., str]
MLFLOW_NAMES = {
    *("system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"),
    *("system/system_memory_usage_percentage", "system/disk_usage_percentage", "system/disk_usage_megabytes"),
    *("system/disk_available_megabytes", "system/network_receive_megabytes", "system/network_transmit_megabytes"),
}
CALL = """
import os, time, urllib.error, urllib.request
uri = os.environ["MLFLOW_TRACKING_URI"]
print(uri)
def ask(token, path, body=None):
    request = urllib.request.Request(uri + path, body, {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as refused:
        return refused.code
"""
RELAY = {"url": "http://127.0.0.1:1", "token": "t", "secret": "sesame", "drain_s": 0.1}


class Clock:
    """Seconds that pass when they are told to, and gauges that stand still."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def look(self, _pids: Sequence[int]) -> dict[str, float]:
        return {"system/a": 1.0}


def test_a_run_has_samples_under_mlflows_names(engine: LocalEngine, start: Start) -> None:
    handle = start("x = bytearray(64 * 1024**2); import time; time.sleep(2)")
    until(lambda: engine.read_samples(handle, 0, 10)[0] != [])
    (sample, *_), place = engine.read_samples(handle, 0, 10)
    ended(engine, handle)

    assert set(sample.gauges) >= MLFLOW_NAMES
    assert sample.gauges["system/run_memory_megabytes"] > 60
    assert engine.read_samples(handle, place, 10)[1] >= place


def test_samples_become_fewer_in_a_long_run(tmp_path: Path) -> None:
    clock = Clock()
    samples = Samples(tmp_path, clock, clock)
    for second in range(int(FIRST_S + EVERY_S * FEWER_AFTER * 3)):
        clock.now_s = float(second)
        samples.take([])
    samples.close()

    taken = len((tmp_path / NAME).read_text().splitlines())
    assert FEWER_AFTER * 1.9 < taken < FEWER_AFTER * 2.1


def test_what_is_no_sample_is_left_out(tmp_path: Path) -> None:
    lines = ['[1, {"system/a": 1, "b": 2}]', "nonsense", '[2, "x"]', '[3, {"system/a": 3}]']
    (tmp_path / NAME).write_text("\n".join(lines) + '\n[4, {"system')
    found, place = read_samples(tmp_path, 0, 10)

    assert [(each.at_ms, each.gauges) for each in found] == [(1, {"system/a": 1.0}), (3, {"system/a": 3.0})]
    assert read_samples(tmp_path, place, 10) == ([], place)
    assert read_samples(tmp_path / "gone", 0, 10) == ([], 0)


def test_a_link_in_the_place_of_samples_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('[1, {"system/a": 1}]\n')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / NAME).symlink_to(tmp_path / "secret")

    assert read_samples(tmp_path / "run", 0, 10) == ([], 0)


def test_a_machine_without_accelerators_has_no_gauges_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise OSError("no libnvidia-ml")

    monkeypatch.setattr(nvml, "Nvml", no_library)
    assert nvml.open_nvml() is None
    assert not any("gpu" in name for name in Gauges(tmp_path).look([]))


def test_no_relay_is_started_for_a_script_that_does_not_call_it(
    engine: LocalEngine, start: Start, tmp_path: Path
) -> None:
    handle = start(CALL, relay=RELAY)
    status = ended(engine, handle)

    assert (status.life, status.exit_code) == (Life.ENDED, 0)
    assert log(engine, handle).startswith("http://127.0.0.1:")
    assert list((tmp_path / "home" / "runs").glob("*/*/relay.log")) == []


def test_a_relay_is_there_when_a_script_calls_and_what_could_not_be_sent_is_told(
    engine: LocalEngine, start: Start, tmp_path: Path
) -> None:
    body = """b'{"run_id": "run-00000001", "key": "a", "value": 1, "timestamp": 1}'"""
    path = "/api/2.0/mlflow/runs/log-metric"
    handle = start(CALL + f"print(ask('wrong', {path!r}), ask('sesame', {path!r}, {body}))", relay=RELAY)
    status = ended(engine, handle)

    assert (status.cause, status.exit_code) == ("exit", 0)
    assert "401 200" in log(engine, handle)
    assert "not all that was logged could be sent" in log(engine, handle)
    assert len(list((tmp_path / "home" / "runs").glob("*/*/spool/relay/*.log"))) == 1


def test_a_relay_that_is_killed_is_started_again(engine: LocalEngine, start: Start) -> None:
    kill = """
import signal
tell = "/api/2.0/mlflow/experiments/get?experiment_id=0"
print(ask("sesame", tell))
me, found = os.getppid(), []
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        if "-m\\0sill.relay\\0" in open(f"/proc/{pid}/cmdline").read() and f" {me} " in open(f"/proc/{pid}/stat").read():
            found.append(int(pid))
    except OSError:
        pass
print(len(found))
os.kill(found[0], signal.SIGKILL)
print(ask("sesame", tell))
"""
    handle = start(CALL + kill, relay=RELAY)
    ended(engine, handle)

    assert log(engine, handle).split()[1:4] == ["503", "1", "503"]


def test_the_relay_is_not_what_the_run_uses(engine: LocalEngine, start: Start) -> None:
    handle = start(
        CALL + "ask('sesame', '/version'); time.sleep(1)", relay=RELAY, memory_bytes=25 * 1024**2
    )  # less than a relay takes alone
    status = ended(engine, handle)

    assert (status.cause, status.exit_code) == ("exit", 0), status.detail
