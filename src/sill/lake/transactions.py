"""pyiceberg's transaction without its deep copies: each look at its metadata copied all snapshots, some forty times."""

from functools import cache
from typing import Any


def begin(table: Any) -> Any:
    """A transaction on the table; it ends with `commit_transaction`."""
    return _kind()(table)


def expire(transaction: Any, snapshot_ids: list[int]) -> None:
    """Stage that the snapshots are forgotten; none may be a current one."""
    from pyiceberg.table.update.snapshot import ExpireSnapshots

    ExpireSnapshots(transaction).by_ids(snapshot_ids).commit()


@cache
def _kind() -> Any:
    from pyiceberg.table import Transaction
    from pyiceberg.table.update import update_table_metadata

    class QuickTransaction(Transaction):  # type: ignore[misc,unused-ignore]
        """Works out the metadata once for each set of staged updates; nobody changes what it hands out."""

        _seen: tuple[Any, Any, Any] = (None, None, None)

        @property
        def table_metadata(self) -> Any:
            base, updates = self._table.metadata, self._updates
            if self._seen[0] is not base or self._seen[1] is not updates:
                self._seen = (base, updates, update_table_metadata(base, updates) if updates else base)
            return self._seen[2]

    return QuickTransaction
