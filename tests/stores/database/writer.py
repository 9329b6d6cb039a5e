"""A process that writes until it is killed: prints the number of each write that was acknowledged.

python writer.py DATABASE_URL NAME
"""

import sys
import threading

from sqlalchemy import insert

from sill.core.clock import SystemClock
from sill.stores.database import Tx, open_database
from sill.stores.database.schema import idempotency

WRITERS = 4


def main(url: str, name: str) -> None:
    database = open_database(url, SystemClock())
    printing = threading.Lock()

    def write_forever(writer: int) -> None:
        number = 0
        while True:
            key = f"{name}-{writer}-{number}"

            def work(tx: Tx, key: str = key) -> None:
                tx.execute(insert(idempotency).values(key=key, digest="", result="", at_us=tx.now_us))
                tx.emit("thing.noted", "churn", key, "tester")

            database.write_sync(work)
            with printing:
                print(key, flush=True)
            number += 1

    threads = [threading.Thread(target=write_forever, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
