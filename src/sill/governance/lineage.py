"""What was made from what: edges between addresses, written in the transaction of whoever made the thing."""

from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, Connection, Index, Table, insert, select

from sill.core.errors import InvalidValue
from sill.governance.types import LineageEdge, LineageGraph
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

ADDRESS_LENGTH_MAX = 300
DEPTH_MAX = 20
EDGES_MAX = 2_000
_PER_QUERY = 500

edges = Table(
    "lineage_edges",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("source", key_type(ADDRESS_LENGTH_MAX), primary_key=True),
    Column("target", key_type(ADDRESS_LENGTH_MAX), primary_key=True),
    Column("kind", key_type(100), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Index("lineage_edges_target", "project", "target"),
)


def add_edge(tx: Tx, project: str, source: str, target: str, kind: str) -> None:
    """Note that `target` was made from `source`; noting it twice changes nothing.

    Args:
        kind: how: `read`, `trained_from`, `registered`, `deployed` …
    Raises:
        InvalidValue: an address is empty or longer than 300 characters.
    """
    for address in (source, target):
        if not 0 < len(address) <= ADDRESS_LENGTH_MAX:
            raise InvalidValue(f"an address has 1 to {ADDRESS_LENGTH_MAX} characters, not {len(address)}.")
    known = select(edges.c.at_us).where(
        edges.c.project == project, edges.c.source == source, edges.c.target == target, edges.c.kind == kind
    )
    if tx.execute(known).first() is None:
        tx.execute(insert(edges).values(project=project, source=source, target=target, kind=kind, at_us=tx.now_us))


def walk(connection: Connection, project: str, root: str, direction: str, depth: int) -> LineageGraph:
    """The edges within `depth` steps of `root`: `up` to what it was made from, `down` to what was made from it.

    At most 2,000 edges, the nearest first. A circle is walked once.

    Raises:
        InvalidValue: another direction or depth.
    """
    if direction not in ("up", "down"):
        raise InvalidValue(f"direction {direction[:20]!r} is not known; up and down are.", field="direction")
    if not 1 <= depth <= DEPTH_MAX:
        raise InvalidValue(f"depth {depth} is not within 1 to {DEPTH_MAX}.", field="depth")
    found: dict[tuple[str, str, str], LineageEdge] = {}
    seen, frontier = {root}, [root]
    for _ in range(depth):
        beyond: list[str] = []
        for edge in _edges_at(connection, project, frontier, direction, EDGES_MAX - len(found)):
            found[(edge.source, edge.target, edge.kind)] = edge
            following = edge.source if direction == "up" else edge.target
            if following not in seen:
                seen.add(following)
                beyond.append(following)
        frontier = beyond
        if not frontier or len(found) >= EDGES_MAX:
            break
    return LineageGraph(root=root, edges=tuple(found.values()))


def _edges_at(
    connection: Connection, project: str, nodes: list[str], direction: str, limit: int
) -> Iterable[LineageEdge]:
    """Edges that leave the nodes in the direction, in a fixed order."""
    end = edges.c.target if direction == "up" else edges.c.source
    found: list[LineageEdge] = []
    for start in range(0, len(nodes), _PER_QUERY):
        query = select(edges).where(edges.c.project == project, end.in_(nodes[start : start + _PER_QUERY]))
        query = query.order_by(edges.c.at_us, edges.c.source, edges.c.target, edges.c.kind).limit(limit - len(found))
        found += [LineageEdge(**row) for row in connection.execute(query).mappings()]
        if len(found) >= limit:
            break
    return found
