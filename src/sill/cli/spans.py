"""Spans of time as people write them."""

from sill.core.errors import InvalidValue

SPANS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def span_s(text: str, option: str) -> float:
    """Seconds of `90m`, `24h`, `7d`.

    Raises:
        InvalidValue: it is none.
    """
    try:
        return float(text[:-1]) * SPANS_S[text[-1:]]
    except (ValueError, KeyError) as wrong:
        raise InvalidValue(f"{option} {text!r} is not a span of time.", fix="Such as 90m, 24h or 7d.") from wrong
