"""Cuts filters and orders of MLflow's grammar into tokens and clauses. What they mean is left to `filters`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sill.core.errors import InvalidValue
from sill.core.names import shorten

LISTED_MAX = 5_000
"""Most values of one list."""
_SINGLE = r"'(?:''|\\'|[^'])*'"
_DOUBLE = r'"(?:""|\\"|[^"])*"'
_TICKED = r"`[^`]*`"
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    |(?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<single>{_SINGLE})
    |(?P<name>(?:{_TICKED}|{_DOUBLE}|[^\W\d]\w*)(?:\.(?:{_TICKED}|{_DOUBLE}|{_SINGLE}|\w+))*)
    |(?P<operator>[<>=~!]+)
    |(?P<mark>[(),;])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_WHOLE_NUMBER = re.compile(r"-?\d+")
_NO_VALUE = frozenset({"true", "false", "null", "and", "or", "not", "in", "is", "like", "ilike", "rlike"})
_WORD_OPERATORS = (("NOT", "LIKE"), ("NOT", "ILIKE"), ("NOT", "IN"), ("LIKE",), ("ILIKE",), ("RLIKE",), ("IN",))


@dataclass(frozen=True)
class Token:
    """A piece of a text; `kind` is one of `number single name operator mark other`."""

    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        """True if this is the word, in any case."""
        return self.kind == "name" and self.text.upper() == word


@dataclass(frozen=True)
class Literal:
    """A value as it was written: a number, a quoted text, a list of quoted texts, or a bare word (which is refused)."""

    kind: str
    """`number`, `text`, `list` or `word`."""
    value: int | float | str | tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Comparison:
    """A clause before its meaning is known; `literal` is None for `IS NULL` and `IS NOT NULL`."""

    name: str
    operator: str
    literal: Literal | None


def tokens(text: str) -> list[Token]:
    """The text's pieces without blanks. Never fails: what is unknown is a token of kind `other`."""
    return [Token(str(match.lastgroup), match.group()) for match in _TOKEN.finditer(text) if match.lastgroup != "space"]


def comparisons(text: str) -> Iterator[Comparison]:
    """The clauses of a filter, which `AND` joins.

    Raises:
        InvalidValue: the text has another form.
    """
    left = tokens(text)
    if any(token.text == ";" for token in left):
        raise InvalidValue(
            f"Search filter contained multiple expression {shorten(text)!r}.",
            fix="Join clauses with AND.",
            field="filter",
        )
    at = 0
    while at < len(left):
        found, at = _comparison(left, at)
        yield found
        if at == len(left):
            return
        if not left[at].is_word("AND") or at + 1 == len(left):
            raise invalid_clause(left[at:])
        at += 1


def split_name(name: str) -> tuple[str, str]:
    """Prefix and key of `metrics.loss`, without their quotes; the prefix is empty if there is none."""
    prefix, dot, key = name.partition(".")
    if name[:1] in "`\"'":
        quoted = re.match(rf"{_TICKED}|{_DOUBLE}", name)
        prefix = quoted.group() if quoted else name
        dot, key = name[len(prefix) : len(prefix) + 1], name[len(prefix) + 1 :]
    return (_strip(prefix), _strip(key)) if dot else ("", _strip(prefix))


def invalid_clause(found: list[Token]) -> InvalidValue:
    """The error for what is no clause."""
    text = " ".join(token.text for token in found)
    return InvalidValue(
        f"Invalid clause(s) in filter string: {shorten(text)!r}.",
        fix="Write clauses such as metrics.loss < 0.5, params.model = 'tree' or tags.team IS NULL, joined with AND.",
        field="filter",
    )


def _comparison(left: list[Token], at: int) -> tuple[Comparison, int]:
    subject = left[at]
    if subject.kind in ("number", "single"):
        raise InvalidValue(
            f"Invalid comparison clause. Expected 'Identifier' found {shorten(subject.text)!r}.",
            fix="Write what is compared first, as in metrics.loss < 0.5.",
            field="filter",
        )
    if subject.kind != "name":
        raise invalid_clause(left[at:])
    operator, behind = _operator(left, at + 1)
    if operator.startswith("IS "):
        return Comparison(subject.text, operator, None), behind
    if not operator or behind >= len(left):
        raise invalid_clause(left[at:])
    literal, end = _literal(left, behind)
    return Comparison(subject.text, operator, literal), end


def _operator(left: list[Token], at: int) -> tuple[str, int]:
    """The operator at a place, in capitals, and the place behind it; empty if there is none."""
    rest = left[at : at + 3]
    if rest and rest[0].kind == "operator":
        return rest[0].text, at + 1
    for words in (*_WORD_OPERATORS, ("IS", "NOT", "NULL"), ("IS", "NULL")):
        if len(rest) >= len(words) and all(token.is_word(word) for token, word in zip(rest, words, strict=False)):
            return " ".join(words), at + len(words)
    return "", at


def _literal(left: list[Token], at: int) -> tuple[Literal, int]:
    token = left[at]
    if token.text == "(":
        return _list(left, at)
    if token.kind == "number":
        is_whole = bool(_WHOLE_NUMBER.fullmatch(token.text)) and len(token.text) <= 19
        return Literal("number", int(token.text) if is_whole else float(token.text), token.text), at + 1
    if _is_text(token):
        return Literal("text", token.text[1:-1], token.text), at + 1
    if token.kind == "name" and token.text.lower() not in _NO_VALUE:
        return Literal("word", token.text, token.text), at + 1
    raise invalid_clause(left[at - 1 :])


def _list(left: list[Token], at: int) -> tuple[Literal, int]:
    """The list whose bracket opens at a place: quoted texts with commas between, one also behind the last."""
    values: list[str] = []
    place = at + 1
    while place < len(left) and _is_text(left[place]) and len(values) < LISTED_MAX:
        values.append(left[place].text[1:-1])
        place += 1
        if place < len(left) and left[place].text == ",":
            place += 1
        else:
            break
    if not values or place >= len(left) or left[place].text != ")":
        raise InvalidValue(
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.",
            fix=f"Write ('a', 'b'), with at most {LISTED_MAX} values.",
            field="filter",
        )
    return Literal("list", tuple(values), "(…)"), place + 1


def _is_text(token: Token) -> bool:
    return token.kind == "single" or (
        token.kind == "name" and len(token.text) > 1 and token.text[0] == token.text[-1] == '"'
    )


def _strip(part: str) -> str:
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "`\"'" else part
