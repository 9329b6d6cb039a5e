"""kill -9 at any moment: what was acknowledged is there, what is there is whole."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select

from sill.core.clock import SystemClock
from sill.governance.audit import verify_log
from sill.stores.database import metadata, open_database
from sill.stores.database.schema import events, idempotency

KILLS = 5
SEED = 7455


def test_every_acknowledged_write_survives_a_kill_and_the_chain_is_whole(database_url: str) -> None:
    print(f"seed {SEED}")
    moments = random.Random(SEED)
    database = open_database(database_url, SystemClock())
    metadata.create_all(database.engine)
    acknowledged: set[str] = set()
    for number in range(KILLS):
        acknowledged |= written_until_killed(database_url, f"p{number}", moments.uniform(0.02, 0.3))
        rows = database.read_sync(lambda connection: set(connection.execute(select(idempotency.c.key)).scalars()))
        noted = database.read_sync(lambda connection: set(connection.execute(select(events.c.subject)).scalars()))

        assert acknowledged <= rows
        assert rows == noted  # a change and its event: both or neither
        assert verify_log(database, None).problem == ""
    assert len(acknowledged) > KILLS
    database.close()


def written_until_killed(url: str, name: str, seconds: float) -> set[str]:
    """What a writing process had acknowledged when it was killed `seconds` after its first acknowledgement."""
    command = [sys.executable, str(Path(__file__).parent / "writer.py"), url, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    return {line for line in (first + rest).split("\n")[:-1] if line}
