"""The local engine with real processes."""

import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sill.core.errors import InvalidValue
from sill.engines.local.engine import LocalEngine
from sill.engines.local.output import Output
from sill.engines.types import EngineStatus, Life, StartSpec
from sill.safety.archive import pack

Start = Callable[..., str]
WAIT_S = 20.0


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a real process to come so far."""
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ended(engine: LocalEngine, handle: str) -> EngineStatus:
    """How the attempt ended."""
    until(lambda: engine.poll(handle).life is not Life.ALIVE)
    return engine.poll(handle)


def log(engine: LocalEngine, handle: str) -> str:
    return engine.read_log(handle, 0, 1_000_000).data.decode()


def test_a_command_runs_and_says_how_it_ended(engine: LocalEngine, start: Start) -> None:
    status = ended(engine, start("import os; print('hello', os.getcwd()); raise SystemExit(3)"))

    assert (status.life, status.cause, status.exit_code) == (Life.ENDED, "exit", 3)
    assert status.detail == "the command ended with exit code 3."
    assert "hello" in log(engine, "local:run-00000001/1")


def test_what_was_never_started_is_absent(engine: LocalEngine) -> None:
    assert engine.poll("local:run-00000009/1").life is Life.ABSENT


def test_starting_twice_starts_once(engine: LocalEngine, start: Start, tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    ended(engine, start(program))
    ended(engine, start(program))

    assert (tmp_path / "count").read_text() == "x"


def test_use_is_metered(engine: LocalEngine, start: Start) -> None:
    status = ended(engine, start("import time; kept = b'x' * 50_000_000; \nwhile time.process_time() < .6: pass"))

    assert 0.6 <= status.usage.cpu_s < 3
    assert status.usage.memory_bytes_max > 50_000_000
    assert status.usage.memory_gib_s > 0


def test_timeout_ends_the_whole_tree(engine: LocalEngine, start: Start) -> None:
    program = """import subprocess, time
print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid); time.sleep(60)"""
    status = ended(engine, start(program, timeout_s=0.5))

    assert status.cause == "timeout"
    child = int(log(engine, "local:run-00000001/1").split()[0])
    assert not Path(f"/proc/{child}").exists()


def test_stop_asks_first_and_kills_after_the_grace(engine: LocalEngine, start: Start) -> None:
    handle = start(
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked')); print('up')\nwhile True: time.sleep(1)"
    )
    until(lambda: "up" in log(engine, handle))
    engine.stop(handle, grace_s=0.3)

    assert ended(engine, handle).cause == "stopped"
    assert "asked" in log(engine, handle)


def test_memory_limit_ends_it_with_the_figures(engine: LocalEngine, start: Start) -> None:
    status = ended(engine, start("kept = b'x' * 200_000_000; import time; time.sleep(30)", memory_bytes=100_000_000))

    assert status.cause == "memory"
    assert "95 MiB were asked for" in status.detail


def test_a_command_that_does_not_exist_is_named(engine: LocalEngine, start: Start) -> None:
    status = ended(engine, start("", command=("no-such-program",)))

    assert (status.cause, status.exit_code) == ("spawn", 127)
    assert "'no-such-program' could not be started" in status.detail


def test_a_gang_gets_what_torchrun_sets(engine: LocalEngine, start: Start) -> None:
    program = "import os; print(*[os.environ[n] for n in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR')])"
    assert ended(engine, start(program, workers=3)).exit_code == 0

    lines = sorted(log(engine, "local:run-00000001/1").splitlines())
    assert lines == [f"[{rank}] {rank} {rank} 3 127.0.0.1" for rank in range(3)]


def test_one_failed_worker_stops_the_gang(engine: LocalEngine, start: Start) -> None:
    program = "import os, time; os.environ['RANK'] == '1' and exit(7); time.sleep(60)"
    status = ended(engine, start(program, workers=3))

    assert (status.cause, status.rank, status.exit_code) == ("exit", 1, 7)
    assert "worker 1 ended with exit code 7; the other workers were stopped." in status.detail


def test_an_attempt_whose_supervisor_was_killed_is_lost_and_leaves_nothing(
    engine: LocalEngine, start: Start, tmp_path: Path
) -> None:
    program = (
        "import os, subprocess; print(subprocess.Popen(['sleep', '60']).pid, os.getpid()); import time; time.sleep(60)"
    )
    handle = start(program)
    until(lambda: log(engine, handle) != "")
    folder = tmp_path / "home/runs/run-00000001/1"
    os.kill(json.loads((folder / "started.json").read_text())["pid"], signal.SIGKILL)
    until(lambda: engine.poll(handle).life is Life.LOST)
    engine.kill_left(handle)

    until(lambda: not any(_is_running(int(pid)) for pid in log(engine, handle).split()))


def test_secrets_reach_the_process_and_not_the_disk(engine: LocalEngine, start: Start, tmp_path: Path) -> None:
    handle = start(
        "import os; print(os.environ['SILL_TOKEN'])", env={"SILL_TOKEN": "sill_canary"}, redact=("sill_canary",)
    )
    ended(engine, handle)

    assert log(engine, handle) == "[redacted]\n"
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file() and b"canary" in p.read_bytes()]


def test_hostile_variables_reach_the_command_only(engine: LocalEngine, start: Start, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('x')")
    env = {"PYTHONSTARTUP": str(tmp_path / "evil.py"), "PYTHONPATH": str(tmp_path), "LD_PRELOAD": "/nowhere.so"}
    status = ended(engine, start("import os; print(os.environ['PYTHONPATH'])", env=env))

    assert status.exit_code == 0
    assert not (tmp_path / "ran").exists()


def test_code_is_unpacked_and_the_next_attempt_finds_its_files(
    engine: LocalEngine, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/step.py").write_text("open('state', 'a').write('x'); print(open('state').read())")
    for attempt in (1, 2):
        spec = StartSpec(run_id="run-00000001", attempt=attempt, command=("python", "step.py"))
        ended(engine, engine.start(spec, io.BytesIO(pack(tmp_path / "code"))))

    assert log(engine, "local:run-00000001/2") == "xx\n"


def test_outputs_that_are_no_regular_files_are_listed_as_refused(engine: LocalEngine, start: Start) -> None:
    program = """
import os; os.chdir(os.environ['SILL_RUN_FOLDER'] + '/outputs')
os.mkdir('a'); open('a/model.txt', 'w').write('m')
os.symlink('/etc/passwd', 'link'); os.mkfifo('pipe'); os.symlink('/etc', 'folder')
"""
    handle = start(program)
    ended(engine, handle)
    found = engine.outputs(handle)

    assert found.files == ("a/model.txt",)
    assert [line.partition(":")[0] for line in found.refused] == ["folder", "link", "pipe"]
    with engine.open_output(handle, "a/model.txt") as file:
        assert file.read() == b"m"


def test_a_log_replaced_by_a_link_is_not_followed(engine: LocalEngine, start: Start, tmp_path: Path) -> None:
    handle = start(
        "import os; f = os.environ['SILL_RUN_FOLDER']; os.unlink(f + '/output.log'); os.symlink('/etc/passwd', f + '/output.log')"
    )
    ended(engine, handle)

    with pytest.raises(InvalidValue, match="is a link"):
        engine.read_log(handle, 0, 1000)


def test_removing_reports_the_bytes_freed(engine: LocalEngine, start: Start, tmp_path: Path) -> None:
    handle = start("import os; open('big', 'w').write('x' * 100_000); os.mkdir('shut'); os.chmod('shut', 0)")
    ended(engine, handle)

    assert engine.remove(handle) > 100_000
    assert not (tmp_path / "home/runs/run-00000001").exists()


def test_output_is_bounded(tmp_path: Path) -> None:
    output = Output(tmp_path / "log", redact=[], prefixed=False, bytes_max=10)
    output.write(0, b"0123456789ABC\n")
    output.write(0, b"more\n")
    output.close()

    assert (
        tmp_path / "log"
    ).read_text() == "0123456789\n[sill] output is longer than 10 bytes; the rest is left out.\n"


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
