"""What the writers sent, and what they were told: the measure for what must be there after the storm."""

import threading
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    *("alias", "append", "artifact", "endpoint", "label", "metrics", "project"),
    *("record", "register", "run", "secret", "table", "trigger"),
)


@dataclass
class Write:
    """One write under one idempotency key.

    Attributes:
        kind: what was written, one of `KINDS`.
        key: its idempotency key, and the name or the mark of what it made.
        facts: what is needed to find it again.
        answer: what the platform answered; None while it has not, and for ever if the writer gave up.
    """

    kind: str
    key: str
    facts: dict[str, Any] = field(default_factory=dict)
    answer: Any = None

    @property
    def is_acknowledged(self) -> bool:
        """True if the platform said that it is done."""
        return self.answer is not None


class Ledger:
    """All writes of a storm, in the order in which each writer began them."""

    def __init__(self) -> None:
        self._writes: list[Write] = []
        self._lock = threading.Lock()
        self.surprises: list[str] = []
        """Answers no writer should ever get, and what went wrong in a writer."""

    def begin(self, kind: str, key: str, **facts: Any) -> Write:
        """Note a write before it is sent."""
        write = Write(kind, key, facts)
        with self._lock:
            self._writes.append(write)
        return write

    def writes(self, kind: str) -> list[Write]:
        """All writes of a kind."""
        with self._lock:
            return [write for write in self._writes if write.kind == kind]

    def acknowledged(self, kind: str) -> list[Write]:
        """Those of a kind that were acknowledged."""
        return [write for write in self.writes(kind) if write.is_acknowledged]

    def count(self) -> dict[str, tuple[int, int]]:
        """Kind → (sent, acknowledged), of every kind there is."""
        return {kind: (len(self.writes(kind)), len(self.acknowledged(kind))) for kind in KINDS}
