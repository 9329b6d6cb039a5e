"""Which rows hold which blobs: kept with the rows, so that one look-up tells whether a blob is still needed.

A value kept by `Documents` holds every digest (64 hex digits) that stands anywhere in its JSON. A stage's own table
that has digests in a column says so: `table.info["blob_digests"] = "digest"`; that column needs an index. What only
names a digest and needs no bytes says `table.info["refers_to_blobs"] = False`.
"""

from collections.abc import Iterable

from sqlalchemy import Column, Connection, Index, Table, delete, select

from sill.stores.database.schema import key_type, metadata

DIGESTS_AT_ONCE = 500
DIGEST_LENGTH = 64
_BLANKED = bytes(code if chr(code) in "0123456789abcdef" else ord(" ") for code in range(256))
"""Makes all but hex digits a blank, after which splitting at blanks finds digests: four times as fast as a pattern."""
_MARKED = bytes(ord("x") if chr(code) in "0123456789abcdef" else ord(" ") for code in range(256))
_LONG_ENOUGH = b"x" * DIGEST_LENGTH
"""What a text without digests, as most are, does not hold once it is marked: eight times as fast again."""

references = Table(
    "blob_references",
    metadata,
    Column("digest", key_type(64), primary_key=True),
    Column("holder", key_type(100), primary_key=True),
    Column("project", key_type(100), primary_key=True),
    Column("key", key_type(300), primary_key=True),
    Index("blob_references_holder", "holder", "project", "key"),
)
"""`holder` is a table of values, `project` and `key` the value in it that holds the digest."""


def digests_in(text: str) -> set[str]:
    """All digests that stand in a text, such as a value's JSON."""
    encoded = text.encode()
    if _LONG_ENOUGH not in encoded.translate(_MARKED):
        return set()
    return {word.decode() for word in encoded.translate(_BLANKED).split() if len(word) == DIGEST_LENGTH}


def note(connection: Connection, table: Table, project: str, key: str, before: str, after: str) -> None:
    """Keep what a value holds now; costs nothing but two searches when that did not change.

    Args:
        before: its JSON before the change, empty for a new one.
        after: its JSON after the change, empty for one that is removed.
    """
    if table.info.get("refers_to_blobs") is False:
        return
    held, holds = digests_in(before), digests_in(after)
    r = references
    if gone := held - holds:
        here = (r.c.holder == table.name, r.c.project == project, r.c.key == key)
        connection.execute(delete(r).where(*here, r.c.digest.in_(gone)))
    if fresh := holds - held:
        row = {"holder": table.name, "project": project, "key": key}
        connection.execute(r.insert(), [{"digest": digest, **row} for digest in sorted(fresh)])


def used(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Those of the digests that anything of any project holds."""
    columns = [references.c.digest]
    columns += [
        table.c[table.info["blob_digests"]] for table in metadata.tables.values() if "blob_digests" in table.info
    ]
    asked = sorted(set(digests))
    found: set[str] = set()
    for at in range(0, len(asked), DIGESTS_AT_ONCE):
        some = asked[at : at + DIGESTS_AT_ONCE]
        for column in columns:
            found.update(connection.execute(select(column).where(column.in_(some)).distinct()).scalars())
    return found
