"""What several inference processes count, as one: metrics in the Prometheus text format, and Triton's statistics. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARES = ("sill_inference_weight_percent",)
"""Metrics that say the same in each process; all others add up."""
LATEST = "last_inference"
KEYS = ("name", "version", "batch_size", "type", "id")
"""What tells the members of a list of statistics apart."""


def add_metrics(texts: Iterable[str]) -> str:
    """One exposition of those of several processes: samples of one name and labels are added."""
    families: dict[str, list[str]] = {}
    """Family → its lines of help and type."""
    samples: dict[str, dict[str, float]] = {}
    """Family → name with labels → value."""
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                heads = families.setdefault(family, [])
                heads += [line] if line not in heads else []
                continue
            name, _, number = line.rpartition(" ")
            of_family = samples.setdefault(family, {})
            known = of_family.get(name, 0.0)
            of_family[name] = max(known, float(number)) if name.startswith(SHARES) else known + float(number)
    lines: list[str] = []
    for family, heads in families.items():
        lines += [*heads, *(f"{name} {value!r}" for name, value in samples.get(family, {}).items())]
    return "".join(f"{line}\n" for line in lines)


def add_statistics(documents: Sequence[Any]) -> Any:
    """One document of those of several processes: counts and times are added, the latest moment stays.

    Source: the statistics extension of the Open Inference Protocol, triton-inference-server/server.
    """
    first = documents[0]
    if isinstance(first, dict):
        return {name: _add(name, [each[name] for each in documents if name in each]) for name in _names(documents)}
    if isinstance(first, list | tuple):
        alike: dict[tuple[Any, ...], list[Any]] = {}
        for member in (member for each in documents for member in each):
            alike.setdefault(tuple(member.get(key) for key in KEYS), []).append(member)
        return [add_statistics(members) for members in alike.values()]
    return sum(documents) if isinstance(first, int | float) else first


def _add(name: str, values: list[Any]) -> Any:
    if name in KEYS:
        return values[0]
    return max(values) if name == LATEST else add_statistics(values)


def _names(documents: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for each in documents for name in each))
