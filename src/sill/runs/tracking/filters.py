"""Filters and orders as MLflow's clients write them: from text to clauses whose fields, operators and values are known.

Nothing of a text is ever executed: a clause is compared in SQL with bound values (`conditions`), or by `holds`. Which
fields there are is a table (`Fields`), so that runs, experiments, models and traces share the grammar.
"""

import operator as operators
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.tracking.grammar import Comparison, Literal, comparisons, split_name, tokens

FILTER_LENGTH_MAX = 100_000
CLAUSES_MAX = 100
ORDERS_MAX = 20
KEY_LENGTH_MAX = 1_000
PATTERN_LENGTH_MAX = 8_000
"""SQLite takes 50,000 bytes."""

NUMBERS = frozenset({"=", "!=", "<", "<=", ">", ">="})
TEXTS = frozenset({"=", "!=", "LIKE", "ILIKE"})
LISTS = frozenset({"IN", "NOT IN"})
NULLS = frozenset({"IS NULL", "IS NOT NULL"})


@dataclass(frozen=True)
class Key:
    """A key of an entity whose keys are fixed.

    Attributes:
        name: what it is called in clauses and orders.
        is_number: compared with numbers; otherwise with quoted texts.
        takes_list: `IN` and `NOT IN` are allowed.
        is_filtered, is_ordered: where it may be used.
        entity: the entity it really belongs to, if it is another.
    """

    name: str
    is_number: bool = False
    takes_list: bool = False
    is_filtered: bool = True
    is_ordered: bool = True
    entity: str = ""


@dataclass(frozen=True)
class Entity:
    """A kind of thing that clauses are about.

    Attributes:
        name: what it is called in clauses and orders, and in messages.
        prefixes: how a client may write it, as in `metrics.loss`.
        keys: the keys there are, by every name a client may use; None: any key.
        is_number: values are numbers (of entities with any key).
        takes_either: values are numbers or texts, as the operator has it.
        operators: for texts; numbers always take `NUMBERS`.
        is_ordered: results can be ordered by it.
    """

    name: str
    prefixes: frozenset[str]
    keys: dict[str, Key] | None = None
    is_number: bool = False
    takes_either: bool = False
    operators: frozenset[str] = TEXTS
    is_ordered: bool = True


@dataclass(frozen=True)
class Fields:
    """What can be searched.

    Attributes:
        bare: name of the entity a key without a prefix belongs to.
    """

    entities: tuple[Entity, ...]
    bare: str = "attribute"
    _by_prefix: dict[str, Entity] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_prefix.update({prefix: entity for entity in self.entities for prefix in entity.prefixes})
        self._by_prefix[""] = next(entity for entity in self.entities if entity.name == self.bare)

    def entity(self, prefix: str) -> Entity:
        """The entity a prefix stands for.

        Raises:
            InvalidValue: none.
        """
        if prefix not in self._by_prefix:
            known = [entity.name for entity in self.entities]
            raise InvalidValue(f"Invalid entity type {shorten(prefix)!r}. Valid values are {known}.", field="filter")
        return self._by_prefix[prefix]


@dataclass(frozen=True)
class Clause:
    """One condition. `value` is None for the operators `IS NULL` and `IS NOT NULL`, a tuple for `IN` and `NOT IN`."""

    entity: str
    key: str
    operator: str
    value: int | float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Order:
    """One key of an order."""

    entity: str
    key: str
    is_ascending: bool = True


def parse_filter(text: str, fields: Fields) -> tuple[Clause, ...]:
    """The clauses of a filter; all must hold. An empty text has none.

    Raises:
        InvalidValue: the text is not in the grammar, or names something that is not there.
    """
    if len(text) > FILTER_LENGTH_MAX or "\0" in text:
        raise InvalidValue(
            f"the filter has {len(text)} characters; at most {FILTER_LENGTH_MAX} are allowed, and no NUL.",
            field="filter",
        )
    found = []
    for comparison in comparisons(text):
        found.append(_clause(comparison, fields))
        if len(found) > CLAUSES_MAX:
            raise InvalidValue(f"the filter has more than {CLAUSES_MAX} clauses.", field="filter")
    return tuple(found)


def parse_order(texts: Iterable[str], fields: Fields) -> tuple[Order, ...]:
    """The keys of an order, each `KEY`, `KEY ASC` or `KEY DESC`.

    Raises:
        InvalidValue: one is not in the grammar, names something that is not there, or comes twice.
    """
    found: list[Order] = []
    for text in texts:
        found.append(_order(text, fields))
        if len(found) > ORDERS_MAX:
            raise InvalidValue(f"there are more than {ORDERS_MAX} keys of the order.", field="order_by")
    if len({(order.entity, order.key) for order in found}) < len(found):
        raise InvalidValue("`order_by` contains duplicate fields.", fix="Name each once.", field="order_by")
    return tuple(found)


def holds(clause: Clause, value: float | str | None) -> bool:
    """Whether a value (None: there is none) meets the clause; the same as the database answers.

    NaN meets `!=` only. LIKE's `%` stands for any text and `_` for any character; ILIKE ignores the case of A to Z.
    """
    if clause.operator in NULLS:
        return (value is None) == (clause.operator == "IS NULL")
    return value is not None and _COMPARE[clause.operator](value, clause.value)


def is_like(value: str, pattern: str, *, ignores_case: bool = False) -> bool:
    """Whether a text is like a pattern. In time of text × pattern at most, whatever the pattern is."""
    parts = [_part(part, ignores_case) for part in pattern.split("%")]
    if len(parts) == 1:
        return parts[0].fullmatch(value) is not None
    begin = parts[0].match(value)
    if begin is None:
        return False
    at = begin.end()
    for part in parts[1:-1]:
        found = part.search(value, at)
        if found is None:
            return False
        at = found.end()
    tail = len(value) - len(pattern.rpartition("%")[2])
    return tail >= at and parts[-1].fullmatch(value, tail) is not None


def _part(text: str, ignores_case: bool) -> re.Pattern[str]:
    """What stands between two `%`: letters, and `_` for any one."""
    found = "".join("." if letter == "_" else re.escape(letter) for letter in text)
    return re.compile(found, re.DOTALL | (re.IGNORECASE | re.ASCII if ignores_case else 0))


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
    "LIKE": is_like,
    "ILIKE": partial(is_like, ignores_case=True),
    "IN": lambda value, listed: value in listed,
    "NOT IN": lambda value, listed: value not in listed,
}


def _clause(comparison: Comparison, fields: Fields) -> Clause:
    entity, key = _subject(comparison.name, fields)
    if key is not None and not key.is_filtered:
        raise _invalid_key(entity, key.name, "filter")
    is_number = entity.is_number if key is None else key.is_number
    is_number = is_number or (entity.takes_either and comparison.operator in NUMBERS - TEXTS)
    _check_operator(comparison.operator, entity, key, is_number)
    value = None if comparison.literal is None else _value(comparison.literal, comparison.operator, entity, is_number)
    if key is not None:
        return Clause(key.entity or entity.name, key.name, comparison.operator, value)
    return Clause(entity.name, split_name(comparison.name)[1], comparison.operator, value)


def _subject(name: str, fields: Fields, place: str = "filter") -> tuple[Entity, Key | None]:
    prefix, text = split_name(name)
    entity = fields.entity(prefix)
    if entity.keys is None:
        if not 0 < len(text) <= KEY_LENGTH_MAX:
            raise _invalid_key(entity, text, place)
        return entity, None
    if text not in entity.keys:
        raise _invalid_key(entity, text, place)
    return entity, entity.keys[text]


def _check_operator(operator: str, entity: Entity, key: Key | None, is_number: bool) -> None:
    allowed = set(NUMBERS if is_number else entity.operators)
    if key is not None:
        allowed = allowed | LISTS if key.takes_list else allowed - LISTS
    if operator in allowed:
        return
    if operator in NULLS:
        raise InvalidValue(
            "IS NULL / IS NOT NULL is only supported for tags and params, "
            f"not for {entity.name!r} {shorten(key.name if key else '')!r}.",
            field="filter",
        )
    if operator in LISTS and key is not None and entity.keys is not None:
        known = sorted({one.name for one in entity.keys.values() if one.takes_list})
        raise InvalidValue(
            f"Only {known} attributes support comparison with a list of quoted string values.", field="filter"
        )
    raise InvalidValue(f"Invalid comparator {shorten(operator)!r}, not one of {sorted(allowed)}.", field="filter")


def _value(literal: Literal, operator: str, entity: Entity, is_number: bool) -> int | float | str | tuple[str, ...]:
    wanted = "list" if operator in LISTS else "number" if is_number else "text"
    if operator.endswith("LIKE") and len(literal.text) > PATTERN_LENGTH_MAX + 2:
        raise InvalidValue(f"a pattern has more than {PATTERN_LENGTH_MAX} characters.", field="filter")
    if literal.kind == wanted or (entity.takes_either and not is_number and literal.kind == "number"):
        return literal.value
    if wanted == "number":
        raise InvalidValue(
            f"Expected numeric value type for {entity.name}. Found {shorten(literal.text)}.", field="filter"
        )
    if literal.kind == "word":
        raise InvalidValue(
            "Parameter value is either not quoted or unidentified quote types used for string value "
            f"{shorten(literal.text)}.",
            fix="Use either single or double quotes.",
            field="filter",
        )
    if wanted == "list":
        raise InvalidValue(
            f"While parsing a list in the query, expected a list of string values, got {shorten(literal.text)}.",
            fix="Write ('a', 'b').",
            field="filter",
        )
    noun = "attributes" if entity.keys is not None and entity.name == "attribute" else entity.name
    raise InvalidValue(
        f"Expected a quoted string value for {noun} (e.g. 'my-value'). Got value {shorten(literal.text)}.",
        field="filter",
    )


def _order(text: str, fields: Fields) -> Order:
    found = tokens(text) if len(text) <= FILTER_LENGTH_MAX and "\0" not in text else []
    direction = found[1].text.upper() if len(found) == 2 else "ASC"
    if not 1 <= len(found) <= 2 or found[0].kind != "name":
        raise InvalidValue(
            f"Invalid order_by clause {shorten(text)!r}. Could not be parsed.",
            fix="Write KEY, KEY ASC or KEY DESC.",
            field="order_by",
        )
    if direction not in ("ASC", "DESC"):
        raise InvalidValue(
            f"Invalid ordering key in order_by clause {shorten(text)!r}.", fix="Use ASC or DESC.", field="order_by"
        )
    entity, key = _subject(found[0].text, fields, "order_by")
    name = split_name(found[0].text)[1] if key is None else key.name
    if not entity.is_ordered:
        raise InvalidValue(f"Invalid order_by entity: {entity.name}.", field="order_by")
    if key is not None and not key.is_ordered:
        raise _invalid_key(entity, name, "order_by")
    return Order((key.entity if key else "") or entity.name, name, direction == "ASC")


def _invalid_key(entity: Entity, key: str, place: str) -> InvalidValue:
    known = ""
    if entity.keys is not None:
        used = {
            name: one for name, one in entity.keys.items() if (one.is_filtered if place == "filter" else one.is_ordered)
        }
        known = f" Valid keys are {sorted(used)}."
    return InvalidValue(f"Invalid {entity.name} key {shorten(key)!r} specified.{known}", field=place)
