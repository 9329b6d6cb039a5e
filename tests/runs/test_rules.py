"""What may be submitted, and how a run goes from state to state."""

import msgspec
import pytest

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.engines.types import EngineStatus, Life, Used
from sill.runs import rules
from sill.runs.types import Resources, Run, RunSpec, RunState

COMMAND = RunSpec(command=("true",))


def a_run(**fields: object) -> Run:
    spec = RunSpec(command=("true",), retries=int(fields.pop("retries", 0)))  # type: ignore[call-overload]
    return Run(**{"id": "run-00000001", "project": "p", "spec": spec, "state": RunState.RUNNING, **fields})  # type: ignore[arg-type]


def failed(**fields: object) -> EngineStatus:
    return EngineStatus(**{"life": Life.ENDED, "cause": "exit", "exit_code": 2, "detail": "it broke.", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("resources.cpus", {"resources": Resources(cpus=-1.0)}),
        ("resources.cpus", {"resources": Resources(cpus=float("nan"))}),
        ("resources.cpus", {"resources": Resources(cpus=1e308)}),
        ("resources.workers", {"resources": Resources(workers=0)}),
        ("resources.memory_bytes", {"resources": Resources(memory_bytes=-5)}),
        ("resources.accelerators", {"resources": Resources(accelerators=float("inf"))}),
        ("priority", {"priority": 10**9}),
        ("timeout_s", {"timeout_s": float("nan")}),
        ("timeout_s", {"timeout_s": -1.0}),
        ("retries", {"retries": 10**6}),
        ("seed", {"seed": -1}),
        ("kind", {"kind": "shell"}),
        ("command", {"command": ()}),
        ("command", {"command": ("",)}),
        ("command", {"command": ("a\0b",)}),
        ("command", {"command": ("x" * 200_000,)}),
        ("env", {"env": {"SILL_TOKEN": "x"}}),
        ("env", {"env": {"A=B": "x"}}),
        ("env", {"env": {"A": "x\0"}}),
        ("code", {"code": "../../etc/passwd"}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "x" * 251}),
        ("experiment", {"experiment": ""}),
        ("experiment", {"experiment": ".."}),
        ("params", {"params": {"../p": "1"}}),
    ],
)
def test_a_spec_outside_what_is_allowed_is_refused_by_field(field: str, fields: dict[str, object]) -> None:
    spec = msgspec.structs.replace(COMMAND, **fields)
    with pytest.raises(InvalidValue) as refused:
        (rules.check_spec(spec, "p"), rules.check_work(spec))

    assert refused.value.field == field


def test_an_input_of_another_project_is_not_there() -> None:
    with pytest.raises(NotFound):
        rules.check_spec(msgspec.structs.replace(COMMAND, inputs=("sill://q/tables/t",)), "p")


def test_a_clean_exit_finishes() -> None:
    assert rules.after_attempt(a_run(), failed(exit_code=0), 5).state is RunState.FINISHED


def test_a_failure_waits_longer_before_each_further_attempt() -> None:
    again = rules.after_attempt(a_run(retries=2, attempt=2), failed(), 1_000_000)

    assert (again.state, again.attempt, again.not_before_us) == (RunState.QUEUED, 3, 3_000_000)
    assert again.reason == "attempt 2 of 3 failed: it broke. It is tried again after 2 s."
    assert rules.backoff_s(50) == rules.BACKOFF_S_MAX


def test_after_the_last_attempt_it_has_failed() -> None:
    over = rules.after_attempt(a_run(retries=1, attempt=2), failed(), 5)

    assert (over.state, over.reason, over.ended_us) == (RunState.FAILED, "it broke. It was tried 2 times.", 5)


def test_a_lost_attempt_says_so() -> None:
    lost = rules.after_attempt(a_run(), failed(life=Life.LOST, detail="gone."), 5)

    assert lost.reason == "it was lost: gone."


def test_what_was_cancelled_is_not_tried_again() -> None:
    stopping = rules.cancelled(a_run(retries=5), "ada", 1)

    assert rules.after_attempt(stopping, failed(cause="stopped"), 5).state is RunState.CANCELLED


def test_use_of_all_attempts_adds_up() -> None:
    first = rules.after_attempt(a_run(retries=1), failed(usage=Used(cpu_s=1, memory_bytes_max=7)), 5)
    second = rules.after_attempt(first, failed(usage=Used(cpu_s=2, memory_bytes_max=5)), 6)

    assert (second.usage.cpu_s, second.usage.memory_bytes_max) == (3, 7)


def test_what_is_over_cannot_be_cancelled() -> None:
    with pytest.raises(Conflict, match="finished already"):
        rules.cancelled(a_run(state=RunState.FINISHED), "ada", 1)
