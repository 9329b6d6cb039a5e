"""A platform that is told to stop does so at once, though requests are held open, and leaves nothing behind."""

import signal
import threading
import time
from pathlib import Path

import pytest

from sill.testing.live import Live

from .conftest import stages


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    live = Live(tmp_path / "home").start()
    try:
        with stages(live, "default") as sill:
            waiting = threading.Thread(target=lambda: sill.governance.events(after=10**9, wait_s=30))
            waiting.start()
            time.sleep(0.3)
            assert live.process is not None
            began = time.monotonic()
            live.process.send_signal(number)
            live.process.wait(20)
            waiting.join(20)

        assert time.monotonic() - began < 20  # nobody waits for the 30 s
        assert live.process.returncode == 0
        assert live.processes() == []
        assert "ERROR" not in live.log()
    finally:
        live.stop()
