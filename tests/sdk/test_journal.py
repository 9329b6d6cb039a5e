"""What was handed to a journal is there after a kill, in order, once; what is damaged or refused is told."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sill.core.errors import Conflict, Damaged, Limited
from sill.sdk import journal as journal_module
from sill.sdk.journal import Journal
from sill.sdk.journal_files import Entry, Refusal, read_refusals


def entry(number: int, size: int = 10) -> Entry:
    return Entry(method="POST", path=f"/{number}", body=b"x" * size)


def paths(journal: Journal) -> list[str]:
    return [each.path for _, each in journal.read(10_000, 10**9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_entries_are_read_in_the_order_they_came(folder: Path) -> None:
    journal = Journal(folder)
    assert [journal.append(entry(number)) for number in range(3)] == [1, 2, 3]

    assert paths(journal) == ["/0", "/1", "/2"]
    assert paths(journal) == []
    journal.close()


def test_what_was_not_acknowledged_is_there_after_a_restart(folder: Path) -> None:
    journal = Journal(folder)
    for number in range(5):
        journal.append(entry(number))
    journal.acknowledge(2)
    journal.close()

    again = Journal(folder)
    assert (again.id, again.waiting, again.done) == (journal.id, 3, 2)
    assert paths(again) == ["/2", "/3", "/4"]
    assert again.append(entry(5)) == 6
    again.close()


def test_segments_go_when_they_were_acknowledged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES_MAX", 200)
    journal = Journal(folder)
    for number in range(20):
        journal.append(entry(number))
    assert len(list(folder.glob("*.log"))) > 3
    assert paths(journal) == [f"/{number}" for number in range(20)]
    journal.acknowledge(20)

    assert len(list(folder.glob("*.log"))) == 1
    assert journal.waiting == 0
    journal.close()


def test_a_kill_takes_nothing_that_append_returned_for(folder: Path) -> None:
    script = (
        "import sys, pathlib; from sill.sdk.journal import Journal; from sill.sdk.journal_files import Entry\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "while True: print(journal.append(Entry(method='POST', path='/x', body=b'y' * 100)), flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(500)][-1]
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    journal = Journal(folder)
    assert journal.waiting >= told
    journal.close()


def test_what_was_appended_is_synced_soon_and_at_once_if_asked(folder: Path) -> None:
    synced: list[int] = []
    journal = Journal(folder, sync=synced.append)
    journal.append(entry(1), is_durable=True)
    assert len(synced) == 1
    for number in range(100):
        journal.append(entry(number))
    until_s = time.monotonic() + 10 * journal_module.SYNC_S
    while len(synced) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)

    assert len(synced) == 2  # one for all hundred
    journal.close()


def test_half_a_frame_at_the_end_is_cut_off(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(entry(1))
    journal.append(entry(2))
    journal.close()
    file = next(folder.glob("*.log"))
    os.truncate(file, file.stat().st_size - 3)

    again = Journal(folder)
    assert paths(again) == ["/1"]
    assert again.append(entry(3)) == 2
    assert list(folder.glob("*.damaged")) == []
    again.close()


def test_a_damaged_entry_is_told_and_kept_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES_MAX", 400)
    journal = Journal(folder)
    for number in range(20):
        journal.append(entry(number))
    journal.close()
    first = min(folder.glob("*.log"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0xFF
    first.write_bytes(content)

    again = Journal(folder)
    before = paths(again)
    with pytest.raises(Damaged, match="is damaged"):
        again.read(10, 10**6)
    lost = again.skip_damaged()
    assert before + [f"/{number}" for number in range(len(before), len(before) + lost)] + paths(again) == [
        f"/{number}" for number in range(20)
    ]
    assert len(list(folder.glob("*.damaged"))) == 1
    again.close()


def test_a_full_journal_refuses_and_takes_again_when_something_was_delivered(folder: Path) -> None:
    journal = Journal(folder, bytes_max=1_000)
    kept = 10
    for number in range(kept):
        journal.append(entry(number))
    with pytest.raises(Limited, match=r"wait in .* 1,000 bytes are allowed"):
        journal.append(entry(0, size=900))
    journal.acknowledge(kept)

    assert journal.append(entry(0, size=800)) == kept + 1
    journal.close()


def test_a_body_in_a_file_goes_with_its_entry(folder: Path) -> None:
    journal = Journal(folder)
    body = journal.attach()
    body.write(b"much")
    body.close()
    left = journal.attach()
    left.close()  # its entry never came
    sent = Entry(method="PUT", path="/a", attachment=body.name, attachment_bytes=body.size_bytes)
    journal.append(sent)
    journal.close()

    again = Journal(folder)
    assert again.attachment(sent).read_bytes() == b"much"
    assert [path.name for path in (folder / "bodies").iterdir()] == [body.name]
    again.acknowledge(1)
    assert list((folder / "bodies").iterdir()) == []
    again.close()


def test_a_body_beyond_the_room_is_refused(folder: Path) -> None:
    journal = Journal(folder, bytes_max=1_000)
    body = journal.attach()
    with pytest.raises(Limited, match="has no room"):
        body.write(b"x" * 1_001)
    body.discard()
    journal.close()


def test_one_process_at_a_time(folder: Path) -> None:
    journal = Journal(folder)
    with pytest.raises(Conflict, match="another process"):
        Journal(folder)
    journal.close()
    Journal(folder).close()


def test_only_its_owner_can_read_it(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(entry(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.log")} == {0o600}
    journal.close()


def test_refusals_are_kept_with_their_reason(folder: Path) -> None:
    journal = Journal(folder)
    refusal = Refusal(seq=1, status=400, message="no", entry=entry(1))
    journal.refuse(refusal)
    with (folder / "refused.jsonl").open("ab") as file:
        file.write(b'{"seq": 2, "met')  # torn by a power cut

    assert read_refusals(folder) == [refusal]
    journal.close()


def test_the_place_survives_a_torn_slot(folder: Path) -> None:
    journal = Journal(folder)
    for number in range(3):
        journal.append(entry(number))
    journal.acknowledge(1)
    journal.acknowledge(2)
    journal.close()
    with (folder / "done").open("r+b") as file:
        file.write(b"\xff" * 10)  # the newest of the two slots

    again = Journal(folder)
    assert paths(again)[-1] == "/2"
    assert again.done in (1, 2)
    again.close()


def test_what_was_refused_can_be_put_back_whole(folder: Path) -> None:
    journal = Journal(folder)
    body = journal.attach()
    body.write(b"much")
    body.close()
    sent = Entry(method="PUT", path="/a", attachment=body.name, attachment_bytes=4)
    journal.append(sent)
    journal.refuse(Refusal(seq=1, status=404, message="no run", entry=sent))
    journal.acknowledge(1)
    assert journal.retry_refused() == 1

    assert journal.read(10, 10**6)[-1] == (2, sent)
    assert journal.attachment(sent).read_bytes() == b"much"
    assert read_refusals(folder) == []
    journal.close()
