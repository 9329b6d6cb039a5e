"""A declared search space: checked once, then read by whatever samples from it.

`[low, high]` is a float, `[low, high, "log"]` a float on a logarithmic scale, `[low, high, "int"]` a whole number,
`{"choices": [...]}` one of a list.
"""

import math
from typing import Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.values import Value

DIMENSIONS_MAX = 50
CHOICES_MAX = 1_000
_FORMS = '[low, high], [low, high, "log"], [low, high, "int"] and {"choices": [...]} are allowed'


class Float(Value, frozen=True, kw_only=True, tag="float"):
    """A number within [low, high]."""

    low: float
    high: float
    is_log: bool = False


class Int(Value, frozen=True, kw_only=True, tag="int"):
    """A whole number within [low, high]."""

    low: int
    high: int


class Choice(Value, frozen=True, kw_only=True, tag="choice"):
    """One of a list of plain values."""

    choices: tuple[str | int | float | bool | None, ...]


Dimension = Float | Int | Choice


def read_space(declared: dict[str, Any]) -> dict[str, Dimension]:
    """The dimensions of a space, by name.

    Raises:
        InvalidValue: a form that is not known, bounds out of order, or too many dimensions.
    """
    if len(declared) > DIMENSIONS_MAX:
        raise InvalidValue(
            f"the space has {len(declared)} dimensions; {DIMENSIONS_MAX} are allowed.", field="tune.space"
        )
    return {name: _dimension(name, form) for name, form in declared.items()}


def _dimension(name: str, form: Any) -> Dimension:
    if isinstance(form, dict) and set(form) == {"choices"}:
        return _choice(name, form["choices"])
    if isinstance(form, list | tuple) and len(form) in (2, 3) and all(_is_number(bound) for bound in form[:2]):
        low, high, kind = (*form, "float")[:3]
        if low > high:
            raise _wrong(name, form, f"low {low} is above high {high}")
        if kind == "int" and float(low).is_integer() and float(high).is_integer():
            return Int(low=int(low), high=int(high))
        if kind == "log" and low > 0:
            return Float(low=float(low), high=float(high), is_log=True)
        if kind == "float":
            return Float(low=float(low), high=float(high))
    raise _wrong(name, form, _FORMS)


def _choice(name: str, choices: Any) -> Choice:
    plain = isinstance(choices, list | tuple) and all(isinstance(one, str | int | float | None) for one in choices)
    if not plain or not 1 <= len(choices) <= CHOICES_MAX:
        raise _wrong(name, choices, f"1 to {CHOICES_MAX} texts, numbers, booleans or nulls are allowed as choices")
    return Choice(choices=tuple(choices))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(name: str, form: Any, allowed: str) -> InvalidValue:
    return InvalidValue(
        f"the search space of {name!r} is {shorten(repr(form))}: {allowed}.", field=f"tune.space.{name}"
    )
