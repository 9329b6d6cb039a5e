"""Numbers as JSON has them."""

import math
from typing import Literal

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A float64 on the wire: JSON has no word for NaN and infinities, so they are texts, as protobuf writes them."""


def to_number(value: float) -> Number:
    """The number as JSON has it; `float` turns it back."""
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
