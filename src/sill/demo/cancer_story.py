"""The main demonstration: from two messy files to a model that watches itself, retrains, and stops a worse one."""

import shutil
from pathlib import Path

import msgspec

from sill.demo.cancer import mess
from sill.demo.host import Host
from sill.demo.story import Story, version_facts
from sill.demo.teller import Teller
from sill.endpoints.types import RevisionState

DRIFTING = {"worst_perimeter": 1.7, "worst_smoothness": 1.7}
"""Two readings of an instrument that has lost its calibration, and the factor each is wrong by."""


class CancerStory(Story):
    """Breast-cancer measurements of two clinics."""

    project = "cancer"
    endpoint = "diagnosis"
    view = "measurements"
    key = "patient_id"
    title = "Sill: 569 clinical records, from two messy files to a model that watches itself"

    def __init__(self, host: Host, teller: Teller) -> None:
        super().__init__(host, teller)
        self.patients = mess.patients()
        self.truth = {patient.patient_id: patient.diagnosis for patient in self.patients}

    def tell(self) -> None:
        """The whole story."""
        self.start()
        self.write_files()
        self.apply(self.host.work / "project.py")
        self.ingest("cells", "Reading both files into one table; rules repair or set aside")
        self.look_up([patient.patient_id for patient in self.patients])
        self.train("fit", "Tuning linear models, boosted trees and small neural nets; gate; register; sign")
        self.serve_calmly()
        readings = " and ".join(f"{name} × {factor}" for name, factor in DRIFTING.items())
        self.drift(f"An instrument loses its calibration: {readings}")
        self.retrain()
        self.roll_out()
        self.offer_worse()
        self.explain()
        self.count_cost()

    def shifted(self, features: dict[str, float]) -> dict[str, float]:
        """The readings of the drifting instrument."""
        return {name: value * DRIFTING.get(name, 1.0) for name, value in features.items()}

    def write_files(self) -> None:
        """Write the clinics' files, with their faults."""
        with self.teller.step("mess", "Two clinics hand over what they have") as say:
            shutil.copy(Path(mess.__file__).parent / "project.py", self.host.work / "project.py")
            north, south = mess.write(self.host.work, self.patients)
            faults = mess.FAULTS
            say(
                f"{north.name}: semicolons, decimal commas, Berlin times; {faults.duplicates} rows twice, "
                f"{faults.missing_cells} empty cells, {faults.wrong_unit} radii in micrometres"
            )
            say(
                f"{south.name}: other column names, times with a zone; {faults.negative} negative areas, "
                f"{faults.unknown_diagnosis} findings nobody knows, {faults.without_patient} rows without a patient"
            )
            self.facts["mess"] = msgspec.to_builtins(faults)

    def offer_worse(self) -> None:
        """A worse model: the gate refuses it; deployed by force, the judge stops it."""
        with self.teller.step("worse", "Somebody trains a worse model, on shuffled labels, and offers it") as say:
            self.finished(self.sill.triggers.start("training", "careless"))
            version = self.version(3)
            self.tell_gate(say, version)
            say("he deploys it all the same, by force; the judge still watches")
            self.sill.endpoints.deploy(self.endpoint, 3, force=True)
            path = self.follow(3, RevisionState.REJECTED)
            stopped = self.revision_of(3)
            say(f"{' → '.join(path)}: {stopped.reason}")
            say(f"the largest share of the traffic it ever answered: {stopped.weight_max} %")
            first_step = self.sill.endpoints.get(self.endpoint).spec.rollout.steps[0]
            self.facts["worse"] = {
                **version_facts(version),
                "share_max_percent": stopped.weight_max,
                "first_step_percent": first_step,
                "stopped_because": stopped.reason,
            }
