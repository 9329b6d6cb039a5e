"""Writes scikit-learn's breast-cancer records as two clinics would hand them over: in different forms, with faults.

The records are real; only the faults are ours, and `FAULTS` lists every one of them.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sill.core.values import Value

NORTH_ROWS = 300
START = datetime(2026, 9, 1, 8, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
TODAY_ROWS = 150
"""Patients of the last days: measured, not yet diagnosed."""


class Faults(Value, frozen=True, kw_only=True):
    """How many of each fault the two files hold."""

    duplicates: int = 12
    missing_cells: int = 40
    wrong_unit: int = 15
    negative: int = 4
    unknown_diagnosis: int = 3
    without_patient: int = 2


FAULTS = Faults()


class Patient(Value, frozen=True, kw_only=True):
    """One record. `diagnosis` is the truth; `is_today` means that the clinic does not know it yet."""

    patient_id: str
    measured_at: datetime
    diagnosis: str
    measures: dict[str, float]
    is_today: bool


def patients() -> list[Patient]:
    """All 569 records, in an order that does not tell their diagnosis."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [_column(str(name)) for name in data.feature_names]
    order = random.Random(7).sample(range(len(data.target)), len(data.target))
    return [
        Patient(
            patient_id=f"p{place:04d}",
            measured_at=START + timedelta(minutes=150 * place),
            diagnosis=str(data.target_names[data.target[row]]),
            measures=dict(zip(names, map(float, data.data[row]), strict=True)),
            is_today=place >= len(order) - TODAY_ROWS,
        )
        for place, row in enumerate(order)
    ]


def write(folder: Path, records: list[Patient]) -> tuple[Path, Path]:
    """Write `clinic_north.csv` and `clinic_south.jsonl` into the folder; returns their paths."""
    chance = random.Random(11)
    north, south = folder / "clinic_north.csv", folder / "clinic_south.jsonl"
    north.write_text("\n".join(_csv(records[:NORTH_ROWS], chance)) + "\n", encoding="utf-8")
    south.write_text("\n".join(_json_lines(records[NORTH_ROWS:], chance)) + "\n", encoding="utf-8")
    return north, south


def _csv(records: list[Patient], chance: random.Random) -> Iterator[str]:
    """Semicolons, decimal commas, local times, duplicates, empty cells, and some radii in micrometres."""
    names = list(records[0].measures)
    yield ";".join(["patient_id", "measured_at", "clinic", "diagnosis", *names])
    wrong = set(chance.sample(range(len(records)), FAULTS.wrong_unit))
    again = set(chance.sample(range(len(records)), FAULTS.duplicates))
    empty = {(chance.randrange(len(records)), chance.randrange(1, len(names))) for _ in range(FAULTS.missing_cells)}
    for place, patient in enumerate(records):
        values = [f"{patient.measures[name]:.7g}".replace(".", ",") for name in names]
        if place in wrong:
            values[0] = f"{patient.measures['mean_radius'] * 1000:.7g}".replace(".", ",")
        values = ["" if (place, column) in empty else value for column, value in enumerate(values)]
        taken = patient.measured_at.astimezone(BERLIN).strftime("%d.%m.%Y %H:%M")
        line = ";".join([patient.patient_id, taken, "north", _known(patient), *values])
        yield line
        if place in again:
            yield line


def _json_lines(records: list[Patient], chance: random.Random) -> Iterator[str]:
    """Other column names, times with a zone, impossible values, unknown findings, rows without a patient."""
    places = chance.sample(range(len(records) - TODAY_ROWS), FAULTS.negative + FAULTS.unknown_diagnosis)
    negative, unknown = set(places[: FAULTS.negative]), set(places[FAULTS.negative :])
    for place, patient in enumerate(records):
        row: dict[str, Any] = {
            "patient": patient.patient_id,
            "taken": patient.measured_at.astimezone(BERLIN).isoformat(),
            "site": "south",
            "finding": "see letter" if place in unknown else _known(patient) or None,
            **patient.measures,
        }
        if place in negative:
            row["worst_area"] = -row["worst_area"]
        yield json.dumps(row)
    for _ in range(FAULTS.without_patient):
        yield json.dumps({**row, "patient": None})


def _column(name: str) -> str:
    """`mean radius` → `mean_radius`, `radius error` → `error_radius`."""
    measure, _, last = name.rpartition(" ")
    return (f"error_{measure}" if last == "error" else name).replace(" ", "_")


def _known(patient: Patient) -> str:
    return "" if patient.is_today else patient.diagnosis
