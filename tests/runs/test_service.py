"""Runs from submission to deletion, with real processes."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Refused
from sill.runs.types import Batch, InlineRun, Metric, Provenance, Resources, RunSpec, RunState, RunUpdate
from sill.safety.archive import pack
from sill.stores.log import events_after

pytestmark = pytest.mark.anyio


async def events(host: Any, subject: str) -> list[str]:
    found = await host.database.read(lambda connection: events_after(connection, 0, "p", (), 1000))
    return [event.kind for event in found if event.subject == subject]


async def test_a_run_is_executed_metered_and_told_in_events(working: Any, ada: Actor, program: Any, over: Any) -> None:
    run = await over(await working.runs.submit(ada, "p", program("print('hello')")))

    assert (run.state, run.exit_code, run.attempt) == (RunState.FINISHED, 0, 1)
    assert run.usage.wall_s > 0
    assert run.cost is not None
    assert run.cost.usd > 0
    assert run.provenance.python.startswith("3.")
    assert len(run.provenance.environment) == 64
    chain = await events(working, run.id)
    assert [kind for kind in chain if kind.startswith("run.")] == ["run.submitted", "run.started", "run.finished"]


async def test_a_run_knows_where_it_is_and_who_it_is(working: Any, ada: Actor, program: Any, over: Any) -> None:
    text = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('SILL_')}))"
    run = await over(await working.runs.submit(ada, "p", program(text)))

    told = json.loads((await working.runs.logs(ada, "p", run.id)).text)
    assert told["SILL_URL"] == "http://127.0.0.1:7455"
    assert (told["SILL_PROJECT"], told["SILL_RUN_ID"]) == ("p", run.id)
    assert told["SILL_TOKEN"] == "[redacted]"  # it is there, and the log does not show it


async def test_the_same_key_submits_once(host: Any, ada: Actor, program: Any) -> None:
    first = await host.runs.submit(ada, "p", program(), key="k")
    again = await host.runs.submit(ada, "p", program(), key="k")

    assert first == again


async def test_a_failed_run_is_tried_again_and_finds_its_files(
    working: Any, ada: Actor, program: Any, over: Any
) -> None:
    text = (
        "import os; n = os.path.exists('been'); open('been', 'w'); print('resumed', n); raise SystemExit(0 if n else 5)"
    )
    run = await over(await working.runs.submit(ada, "p", program(text, retries=1)))

    assert (run.state, run.attempt) == (RunState.FINISHED, 2)
    assert (await working.runs.logs(ada, "p", run.id)).text == "resumed False\nresumed True\n"
    assert "run.retried" in await events(working, run.id)


async def test_a_run_that_fails_says_how(working: Any, ada: Actor, program: Any, over: Any) -> None:
    run = await over(await working.runs.submit(ada, "p", program("print('no disk'); raise SystemExit(5)")))

    assert run.state is RunState.FAILED
    why = await working.runs.why(ada, "p", run.id)
    assert why.text == "the command ended with exit code 5. Its last line: no disk"


async def test_a_timeout_is_the_reason(working: Any, ada: Actor, program: Any, over: Any) -> None:
    run = await over(await working.runs.submit(ada, "p", program("import time; time.sleep(60)", timeout_s=0.4)))

    assert run.reason == "it ran longer than its timeout of 0.4 s."


async def test_a_running_run_is_cancelled_with_those_under_it(
    working: Any, ada: Actor, program: Any, over: Any
) -> None:
    parent = await working.runs.submit(ada, "p", program("import time; print('up'); time.sleep(60)"))
    big = Resources(cpus=4.0, memory_bytes=1024**3)
    child = await working.runs.submit(ada, "p", program(parent_id=parent.id, resources=big))
    while "up" not in (await working.runs.logs(ada, "p", parent.id, 0, 1.0)).text:
        continue
    await working.runs.cancel(ada, "p", parent.id)

    assert (await over(parent)).state is RunState.CANCELLED
    assert (await over(child)).reason == "cancelled by ada with its parent."
    with pytest.raises(Conflict, match="cancelled already"):
        await working.runs.cancel(ada, "p", parent.id)


async def test_a_waiting_run_says_what_it_waits_for(working: Any, ada: Actor, program: Any) -> None:
    whole = Resources(cpus=3.5, memory_bytes=1024**3)
    await working.runs.submit(ada, "p", program("import time; time.sleep(60)", resources=whole))
    waits = await working.runs.submit(ada, "p", program(resources=whole))
    async with asyncio.timeout(10):
        while "needs" not in (await working.runs.run(ada, "p", waits.id)).reason:
            await working.runs.logs(ada, "p", waits.id, 0, 0.05)

    assert (await working.runs.why(ada, "p", waits.id)).text == "needs 3.5 cpus, 0.5 of 4 are free"


async def test_what_could_never_run_is_refused_at_once(host: Any, ada: Actor, program: Any) -> None:
    with pytest.raises(Refused, match="needs 40 cpus, there are 4 in all"):
        await host.runs.submit(ada, "p", program(resources=Resources(cpus=10.0, workers=4)))


async def test_a_gang_fails_together(working: Any, ada: Actor, program: Any, over: Any) -> None:
    text = "import os, time; os.environ['RANK'] == '1' and exit(3); time.sleep(60)"
    gang = Resources(cpus=0.1, memory_bytes=256 * 1024**2, workers=2)
    run = await over(await working.runs.submit(ada, "p", program(text, resources=gang)))

    assert run.reason == "worker 1 ended with exit code 3; the other workers were stopped."


async def test_a_run_whose_supervisor_was_killed_is_tried_again(
    working: Any, ada: Actor, program: Any, over: Any
) -> None:
    text = "import os, time; os.environ['SILL_ATTEMPT'] == '2' or (print('up'), time.sleep(60))"
    run = await working.runs.submit(ada, "p", program(text, retries=1))
    while "up" not in (await working.runs.logs(ada, "p", run.id, 0, 1.0)).text:
        continue
    started = json.loads((working.settings.home / "runs" / run.id / "1" / "started.json").read_text())
    os.kill(started["pid"], signal.SIGKILL)

    assert ((await over(run)).state, (await over(run)).attempt) == (RunState.FINISHED, 2)


async def test_killed_control_plane_neither_loses_nor_doubles_a_run(
    host: Any, ada: Actor, program: Any, over: Any, tmp_path: Path
) -> None:
    command = [sys.executable, str(Path(__file__).parent / "host.py"), str(tmp_path / "home")]
    text = f"import time; open({str(tmp_path / 'ran')!r}, 'a').write('x'); print('up'); time.sleep(1); print('done')"
    run = await host.runs.submit(ada, "p", program(text))
    for _ in range(2):
        plane = await asyncio.create_subprocess_exec(*command)
        while "up" not in (await host.runs.logs(ada, "p", run.id, 0, 1.0)).text:
            continue
        plane.kill()
        await plane.wait()
    plane = await asyncio.create_subprocess_exec(*command)
    ended = await over(run)
    plane.kill()
    await plane.wait()

    assert (ended.state, ended.attempt) == (RunState.FINISHED, 1)
    assert (tmp_path / "ran").read_text() == "x"
    assert [kind for kind in await events(host, run.id) if kind == "run.finished"] == ["run.finished"]


async def test_outputs_become_artifacts_and_links_are_listed_as_refused(
    working: Any, ada: Actor, program: Any, over: Any
) -> None:
    text = """import os; os.chdir(os.environ['SILL_RUN_FOLDER'] + '/outputs')
open('m.txt', 'w').write('m'); os.symlink('/etc/passwd', 'l')"""
    run = await over(await working.runs.submit(ada, "p", program(text)))

    assert [found.path for found in (await working.artifacts.list(ada, "p", run.id)).items] == ["m.txt"]
    assert "l: not a regular file" in (await working.tracking.data(ada, "p", run.id)).tags["sill.outputs.refused"]


async def test_code_is_checked_kept_and_run(working: Any, ada: Actor, over: Any, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "job.py").write_text("print('from code')")
    code = await working.runs.upload_code(ada, "p", _chunks(pack(tmp_path / "code")))
    small = Resources(cpus=0.1, memory_bytes=256 * 1024**2)
    run = await working.runs.submit(ada, "p", RunSpec(command=("python", "job.py"), code=code.digest, resources=small))

    assert (await over(run)).state is RunState.FINISHED
    assert (await working.runs.logs(ada, "p", run.id)).text == "from code\n"


async def test_code_that_is_no_archive_is_refused(host: Any, ada: Actor) -> None:
    with pytest.raises(Exception, match="not a zip archive"):
        await host.runs.upload_code(ada, "p", _chunks(b"import os"))


async def test_a_platform_kind_without_command_finds_its_task(working: Any, ada: Actor, over: Any) -> None:
    spec = RunSpec(kind="step", task={"no": "such task"}, resources=Resources(cpus=0.1, memory_bytes=1024**3))
    run = await over(await working.runs.submit(ada, "p", spec))

    folder = working.settings.home / "runs" / run.id / "1"
    assert json.loads((folder / "task.json").read_text()) == {"no": "such task"}


async def test_deleting_frees_what_nobody_else_uses(working: Any, ada: Actor, program: Any, over: Any) -> None:
    run = await over(await working.runs.submit(ada, "p", program()))
    other = await over(await working.runs.submit(ada, "p", program()))
    shared = await working.artifacts.put(ada, "p", run.id, "a", _chunks(b"shared"))
    await working.artifacts.put(ada, "p", other.id, "a", _chunks(b"shared"))
    own = await working.artifacts.put(ada, "p", run.id, "b", _chunks(b"x" * 1000))
    gone = await working.retention.delete_run(ada, "p", run.id, now=True)

    assert gone.bytes_freed >= 1000
    assert (working.blobs.exists(shared.digest), working.blobs.exists(own.digest)) == (True, False)
    with pytest.raises(NotFound):
        await working.runs.run(ada, "p", run.id)


async def test_an_inline_run_is_kept_whole(host: Any, ada: Actor, program: Any) -> None:
    parent = await host.runs.submit(ada, "p", program())
    inline = InlineRun(
        spec=program(kind="trial", parent_id=parent.id, params={"lr": "0.1"}),
        state=RunState.FINISHED,
        started_us=1,
        ended_us=2,
        batch=Batch(metrics=(Metric(key="auc", value=0.9),)),
    )
    run = await host.runs.record_inline(ada, "p", inline, key="t1")

    assert (await host.runs.record_inline(ada, "p", inline, key="t1")) == run
    data = await host.tracking.data(ada, "p", run.id)
    assert (data.metrics, data.params) == ({"auc": 0.9}, {"lr": "0.1"})
    assert [child.id for child in (await host.runs.runs(ada, "p", parent_id=parent.id)).items] == [run.id]


async def test_runs_are_listed_newest_first_in_pages(host: Any, ada: Actor, program: Any) -> None:
    ids = [(await host.runs.submit(ada, "p", program(experiment=f"e{n % 2}"))).id for n in range(4)]
    page = await host.runs.runs(ada, "p", limit=3)

    assert len(page.items) == 3
    assert {run.id for run in (*page.items, *(await host.runs.runs(ada, "p", after=page.next)).items)} == set(ids)
    assert len((await host.runs.runs(ada, "p", experiment="e1")).items) == 2
    with pytest.raises(InvalidValue):
        await host.runs.runs(ada, "p", state="sleeping")


async def test_a_queued_run_cannot_be_deleted_and_one_that_is_over_not_lost(
    working: Any, ada: Actor, program: Any
) -> None:
    run = await working.runs.submit(ada, "p", program("import time; time.sleep(60)"))
    with pytest.raises(Conflict, match="only runs that are over"):
        await working.retention.delete_run(ada, "p", run.id)

    assert await working.runs.lost() == []


async def test_code_that_is_gone_fails_the_run_with_the_reason(
    working: Any, ada: Actor, program: Any, over: Any, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "job.py").write_text("")
    code = await working.runs.upload_code(ada, "p", _chunks(pack(tmp_path / "code")))
    spec = program(code=code.digest, resources=Resources(cpus=4.0, memory_bytes=1024**2))
    await working.runs.submit(ada, "p", program("import time; time.sleep(.5)"))
    run = await working.runs.submit(ada, "p", spec)
    working.blobs.delete(code.digest)

    assert f"it could not be started: no blob {code.digest}" in (await over(run)).reason


async def test_on_either_database_a_run_goes_through(
    database_url: str, ada: Actor, program: Any, tmp_path: Path
) -> None:
    host = sys.modules["runs_host"].build(tmp_path / "other", database_url=database_url)
    async with sys.modules["runs_host"].working(host):
        run = await host.runs.submit(ada, "p", program("print('ok')", params={"a": "1"}))
        chunk = await host.runs.logs(ada, "p", run.id, 0, 10.0)
        await host.tracking.log(
            ada, "p", run.id, Batch(metrics=tuple(Metric(key="m", value=n, step=n) for n in range(9)))
        )
        while not chunk.is_end:
            chunk = await host.runs.logs(ada, "p", run.id, chunk.next_offset, 10.0)

    assert (await host.runs.run(ada, "p", run.id)).state is RunState.FINISHED
    assert [point.value for point in (await host.tracking.history(ada, "p", run.id, "m")).items] == list(range(9))
    assert await host.tracking.data(ada, "p", run.id) is not None
    host.database.close()


async def test_a_job_reports_of_itself_only(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program())
    report = RunUpdate(provenance=Provenance(git_revision="abc"), outputs=("sill://p/models/m/1",))
    job = Actor(id=f"job:{run.id}", scopes=frozenset({"runs:write"}), projects=frozenset({"p"}))
    updated = await host.runs.update(job, "p", run.id, report)

    assert (updated.provenance.git_revision, updated.outputs) == ("abc", ("sill://p/models/m/1",))
    with pytest.raises(Forbidden):
        await host.runs.update(Actor(id="job:run-00000000", scopes=frozenset({"runs:write"})), "p", run.id, report)


async def test_another_tenants_run_is_not_there(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program())
    for ask in (
        host.runs.run,
        host.runs.cancel,
        host.runs.why,
        host.runs.logs,
        host.retention.delete_run,
        host.tracking.data,
    ):
        with pytest.raises(NotFound):
            await ask(ada, "q", run.id)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "run-../../x", "", "RUN-00000000"])
async def test_a_run_id_that_is_a_path_is_refused(host: Any, ada: Actor, name: str) -> None:
    with pytest.raises((InvalidValue, NotFound)):
        await host.runs.logs(ada, "p", name)


async def _chunks(data: bytes) -> Any:
    yield data
