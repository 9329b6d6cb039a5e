"""Every way of changing the log behind Sill's back is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden
from sill.core.settings import Settings
from sill.governance.audit import AuditHeads
from sill.governance.service import Governance
from sill.governance.workers import CLEAN_S, AuditHeadWorker, is_head_due
from sill.safety.signing import Signer
from sill.stores.database import Tx
from sill.stores.database.schema import events, idempotency

pytestmark = pytest.mark.anyio


@pytest.fixture
async def worker(governance: Governance, clock: ManualClock, tmp_path: Path) -> AuditHeadWorker:
    """Ten events, and a signed head behind the last."""
    worker = AuditHeadWorker(governance, Signer(tmp_path / "keys" / "signing.key"), Settings(home=tmp_path))
    for number in range(10):
        await governance.database.write(lambda tx, n=number: tx.emit("thing.noted", "churn", str(n), "t", n=n))
    clock.advance(61)
    assert await worker.step()
    return worker


def edit(tx: Tx) -> None:
    tx.execute(events.update().where(events.c.seq == 4).values(actor="somebody else"))


def edit_data(tx: Tx) -> None:
    tx.execute(events.update().where(events.c.seq == 4).values(data='{"n": 3}'))  # a blank more


def swap(tx: Tx) -> None:
    for old, new in ((3, 100), (4, 3), (100, 4)):
        tx.execute(events.update().where(events.c.seq == old).values(seq=new))


def drop_one(tx: Tx) -> None:
    tx.execute(events.delete().where(events.c.seq == 5))


def cut(tx: Tx) -> None:
    tx.execute(events.delete().where(events.c.seq > 7))


def cut_all(tx: Tx) -> None:
    tx.execute(events.delete())


def insert_one(tx: Tx) -> None:
    row = dict(tx.execute(events.select().where(events.c.seq == 10)).mappings().one())
    tx.execute(events.insert().values(row | {"seq": 11, "subject": "forged"}))


def forge_tail(tx: Tx) -> None:
    """Cut the tail and chain other events on, with right hashes."""
    cut(tx)
    for number in range(3):
        tx.emit("thing.noted", "churn", f"forged {number}", "t")


@pytest.mark.parametrize("change", [edit, edit_data, swap, drop_one, cut, cut_all, insert_one, forge_tail])
async def test_a_change_is_found(governance: Governance, worker: AuditHeadWorker, change: Callable[[Tx], Any]) -> None:
    assert (await governance.verify_audit(PLATFORM)).problem == ""
    await governance.database.write(change)
    if change is forge_tail:  # appended behind the head that was read before the cut: make it fit, as a forger would
        await governance.database.write(rechain)

    report = await governance.verify_audit(PLATFORM)
    assert report.broken_at > 0
    assert report.problem


def rechain(tx: Tx) -> None:
    from sill.core.events import Event
    from sill.stores.database.chain import GENESIS_HASH, row_hash

    chain = GENESIS_HASH
    for seq, row in enumerate(tx.execute(events.select().order_by(events.c.seq)).mappings().all(), start=1):
        fields = {name: row[name] for name in ("kind", "project", "subject", "actor", "at_us")}
        chain = row_hash(chain, Event(seq=seq, **fields), row["data"])
        tx.execute(events.update().where(events.c.seq == row["seq"]).values(seq=seq, hash=chain))


async def test_a_sound_log_is_sound_however_long(governance: Governance, worker: AuditHeadWorker) -> None:
    await governance.database.write(lambda tx: [tx.emit("thing.noted", "churn", "s", "t") for _ in range(2_500)])
    report = await governance.verify_audit(PLATFORM)

    assert (report.checked, report.head_seq, report.broken_at, report.heads_checked) == (2_510, 2_510, 0, 1)


async def test_a_forged_head_is_found(governance: Governance, worker: AuditHeadWorker, tmp_path: Path) -> None:
    path = tmp_path / "audit-heads.jsonl"
    path.write_text(path.read_text().replace('"seq":10', '"seq":9'))

    assert "signature" in (await governance.verify_audit(PLATFORM)).problem


async def test_a_line_torn_by_a_kill_spoils_nothing(
    governance: Governance, worker: AuditHeadWorker, clock: ManualClock, tmp_path: Path
) -> None:
    with (tmp_path / "audit-heads.jsonl").open("a") as file:
        file.write('{"seq":1')
    await governance.database.write(lambda tx: tx.emit("thing.noted", "churn", "s", "t"))
    clock.advance(61)
    assert await worker.step()

    report = await governance.verify_audit(PLATFORM)
    assert (report.problem, report.heads_checked) == ("", 2)


async def test_a_restarted_worker_goes_on(governance: Governance, worker: AuditHeadWorker, tmp_path: Path) -> None:
    signer = Signer(tmp_path / "keys" / "signing.key")
    assert AuditHeads(tmp_path / "audit-heads.jsonl", signer).last_seq() == 10
    assert AuditHeadWorker(governance, signer, Settings(home=tmp_path))._signed_seq == 10


async def test_nothing_is_signed_while_nothing_happens(worker: AuditHeadWorker, clock: ManualClock) -> None:
    clock.advance(3_000)
    assert not await worker.step()


async def test_old_keys_and_tokens_are_cleaned_up(
    governance: Governance, worker: AuditHeadWorker, clock: ManualClock
) -> None:
    await governance.database.write_once("k", 1, int, lambda tx: 1)
    await governance.job_token("run-1", "churn", 1)
    clock.advance(CLEAN_S + 40 * 24 * 3600)
    await worker.step()

    assert await governance.database.read(lambda connection: connection.execute(idempotency.select()).all()) == []
    assert await governance.tokens(PLATFORM) == ()


@pytest.mark.parametrize(
    ("since_s", "number", "is_due"), [(59, 999, False), (60, 1, True), (0, 1_000, True), (9_999, 0, False)]
)
def test_a_head_is_due_after_a_minute_or_a_thousand_events(since_s: float, number: int, is_due: bool) -> None:
    assert is_head_due(since_s, number) is is_due


async def test_the_audit_needs_its_scope(governance: Governance) -> None:
    with pytest.raises(Forbidden):
        await governance.verify_audit(Actor(id="t", scopes=frozenset({"runs:read"})))
