"""What several inference processes count, in one answer: metrics in the Prometheus text format, Triton's statistics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTING_S = 2.0
"""How long what another process has counted is waited for; one that hangs is left out."""
LATEST = "last_inference"
KEYS = ("name", "version", "batch_size", "type", "id")
"""What tells the members of a list of statistics apart."""


def join_metrics(texts: Mapping[str, str]) -> str:
    """One exposition of those of several processes, each sample with its `replica`. Adding up is left to who reads: a sum
    in which one did not answer, or counts from nought again, would look like a count that fell.

    Args:
        texts: by the replica's name; each sample under a line of its family.
    """
    families: dict[str, tuple[list[str], list[str]]] = {}
    """Family → its lines of help and type, and its samples."""
    for replica, text in texts.items():
        for line in text.splitlines():
            if line.startswith("#"):
                heads, samples = families.setdefault(line.split(" ", 3)[2], ([], []))
                heads += [line] if line not in heads else []
            else:
                samples.append(_of_replica(line, replica))
    return "".join(f"{line}\n" for heads, samples in families.values() for line in (*heads, *samples))


def _of_replica(sample: str, replica: str) -> str:
    labelled, _, value = sample.rpartition(" ")
    name, _, labels = labelled.partition("{")
    return f'{name}{{replica="{replica}"{"," if labels else "}"}{labels} {value}'


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
