"""What every story shares: the platform it is told on, and the chapters that any loop has."""

import random
import time
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import Refused
from sill.demo.host import Host
from sill.demo.teller import Teller
from sill.demo.waiting import until
from sill.endpoints.types import Revision, RevisionState
from sill.lake.types import WriteReport
from sill.models.types import ModelVersion
from sill.monitors.types import Incident, IncidentKind
from sill.runs.types import Run, RunState
from sill.sdk.stages import Stages
from sill.triggers.types import TriggerState

REQUESTS_PER_BURST = 30
SHIFTED_REQUESTS_MAX = 900
RUN_S_MAX = 180.0
STATE_S_MAX = 30.0


class Story:
    """One telling on one platform. A story says who the entities are, what is known of them, and how the world shifts.

    Attributes:
        project: name on the platform; `endpoint` is the endpoint's and the model's name.
        key: the entity's column.
        features: entity → its features, as the online lookup gave them.
        truth: entity → its label, which the platform learns late.
    """

    project: str
    endpoint: str
    view: str
    key: str
    title: str
    calm_requests = 320
    window_requests = 150
    trigger_labels = 150

    def __init__(self, host: Host, teller: Teller) -> None:
        self.host = host
        self.teller = teller
        self.facts = teller.facts
        self.features: dict[str, dict[str, float]] = {}
        self.truth: dict[str, str] = {}
        self.sill: Stages
        self.sent = 0
        self.failed = 0
        self.asked: list[tuple[str, str]] = []
        """(request id, entity) of every request that was answered."""
        self._chance = random.Random(5)

    def tell(self) -> None:
        """The whole story."""
        raise NotImplementedError

    def shifted(self, features: dict[str, float]) -> dict[str, float]:
        """The features as they come once the world has changed."""
        raise NotImplementedError

    # chapters of any loop

    def start(self) -> None:
        """Start the platform."""
        self.teller.title(self.title)
        with self.teller.step("start", "Starting the platform: one command, embedded stores") as say:
            seconds = self.host.start()
            self.sill = Stages(self.host.client(self.project))
            say(f"it answered after {seconds:.1f} s; home {self.host.home}, API {self.host.url}")
            self.facts["start_seconds"] = round(seconds, 3)

    def apply(self, path: Path) -> None:
        """Apply the project file."""
        with self.teller.step("apply", "sill apply project.py: what the project declares is made so") as say:
            report = self.sill.apply(path)
            say(", ".join(f"{change.kind} {change.name}" for change in report.changes))

    def ingest(self, ingestion: str, what: str) -> None:
        """Run the ingestion and tell what the rules did."""
        with self.teller.step("ingest", what) as say:
            run = self.finished(self.sill.triggers.start("ingestion", ingestion))
            report = msgspec.json.decode(self.sill.runs.artifact(run.id, "report.json"), type=WriteReport)
            say(
                f"{report.rows_in} rows in, {report.rows_written} kept ({report.rows_repaired} of them repaired), "
                f"{report.rows_dropped} duplicates dropped, {report.rows_quarantined} quarantined"
            )
            for reason, rows in report.quarantined.items():
                say(f"quarantined {rows}: {reason}")
            self.facts["ingest"] = msgspec.to_builtins(report)

    def look_up(self, entities: list[str]) -> None:
        """Fetch every entity's features from the online store, as a caller of the endpoint would."""
        with self.teller.step("features", "One definition in SQL, for training and for the online lookup") as say:
            for at in range(0, len(entities), 500):
                found = self.sill.features.lookup(self.view, [{self.key: each} for each in entities[at : at + 500]])
                for row in found.rows:
                    numbers = {name: float(value) for name, value in row.features.items() if _is_number(value)}
                    if numbers:
                        self.features[str(row.entity[self.key])] = numbers
            some = next(iter(self.features))
            first = ", ".join(f"{name}={value:.3g}" for name, value in list(self.features[some].items())[:4])
            say(f"{len(self.features)} online, {len(self.features[some])} features each; {some}: {first}, …")
            self.facts["features"] = {"entities": len(self.features), "features": len(self.features[some])}

    def train(self, training: str, what: str) -> None:
        """Train the first version and see it go live."""
        with self.teller.step("train", what) as say:
            run = self.finished(self.sill.triggers.start("training", training))
            version = self.version(1)
            trials = self.sill.runs.list(parent_id=run.id, limit=100).items
            if trials:
                families = sorted({trial.spec.params.get("family", "") for trial in trials} - {""})
                say(f"{len(trials)} trials{' of ' + ', '.join(families) if families else ''}; best: {_params(version)}")
                self.facts["trials"] = {"count": len(trials), "families": families}
            self.tell_gate(say, version)
            self.facts["versions"] = {"1": version_facts(version)}
            until(lambda: self.sill.endpoints.get(self.endpoint).live(), STATE_S_MAX, "the first revision goes live")
            until(lambda: self.sill.traffic.is_ready(self.endpoint), STATE_S_MAX, "the endpoint answers")
            say(f"version 1 answers at {self.host.inference_url}/v2/models/{self.endpoint}/infer")

    def serve_calmly(self) -> None:
        """Ordinary traffic: no alarm may come of it."""
        with self.teller.step(
            "traffic", f"{self.calm_requests} requests through the HTTP endpoint, as the days go by"
        ) as say:
            self.ask(self.calm_requests)
            wanted = self.calm_requests // self.window_requests
            status = until(
                lambda: found if (found := self.sill.monitors.get(self.endpoint)).windows >= wanted else None,
                STATE_S_MAX,
                "the monitor has seen the windows",
            )
            alarms = self.drift_incidents()
            say(f"{self.sent} sent, {self.failed} failed; {status.windows} windows watched, {len(alarms)} alarms")
            self.facts["calm"] = {"requests": self.sent, "failed": self.failed, "alarms": len(alarms)}

    def drift(self, what: str) -> None:
        """The world shifts, until the monitor says so."""
        with self.teller.step("drift", what) as say:
            before = self.sent
            incident = None
            while incident is None and self.sent - before < SHIFTED_REQUESTS_MAX:
                self.ask(REQUESTS_PER_BURST, is_shifted=True)
                incident = next((each for each in self.drift_incidents() if each.is_open), None)
            if incident is None:
                raise Refused(
                    f"no drift alarm after {self.sent - before} shifted requests.", fix="This is a fault of Sill."
                )
            say(f"alarm after {self.sent - before} shifted requests: {incident.summary}")
            self.facts["drift"] = {
                "requests_until_alarm": self.sent - before,
                "alarms_before_the_shift": self.facts["calm"]["alarms"],
                "incident": incident.id,
                "summary": incident.summary,
                "evidence": incident.evidence,
            }

    def retrain(self) -> None:
        """Labels arrive late; the trigger starts a training; its version passes the gate."""
        with self.teller.step(
            "retrain", "The true answers arrive, late; the trigger starts a training by itself"
        ) as say:
            missing = self.trigger_labels - (len(self.asked) - self.calm_requests)
            self.ask(max(0, missing) + REQUESTS_PER_BURST, is_shifted=True)
            joined = self.label(self.asked[self.calm_requests :])
            trigger = until(self._fired, STATE_S_MAX, "the trigger fires")
            say(f"{joined} labels joined to their requests by id; {trigger.name} fired: {trigger.fired_for}")
            run = self.finished(self.sill.runs.get(trigger.last_run_id))
            version = self.version(2)
            self.tell_gate(say, version)
            self.facts["versions"]["2"] = version_facts(version)
            self.facts["retrain"] = {"labels": joined, "run": run.id, "reason": trigger.fired_for}

    def roll_out(self) -> None:
        """Version 2 takes over, step by step."""
        with self.teller.step("roll out", "Version 2 answers unseen, then more and more of the requests") as say:
            path = self.follow(2, RevisionState.LIVE)
            say(" → ".join(path))
            self.facts["rollout"] = {"path": path}
            until(lambda: not any(each.is_open for each in self.drift_incidents()), STATE_S_MAX, "the incident closes")
            say("the incident is closed: what is normal now is what version 2 was made from")

    def explain(self) -> None:
        """One answer, back to where it came from."""
        with self.teller.step("explain", "One answer, back to the line of the file it came from") as say:
            self.ask(1, is_shifted=True)
            request_id, entity = self.asked[-1]
            explanation = self.sill.traffic.explain(request_id)
            say(f"request {request_id} about {entity} was answered {explanation.request.prediction!r}")
            for link in explanation.chain:
                facts = ", ".join(f"{name} {value}" for name, value in link.facts.items())
                say(f"{link.what}: {link.address}{f'  ({facts})' if facts else ''}")
            self.facts["explained"] = msgspec.to_builtins(explanation)

    def count_cost(self) -> None:
        """What it all came to."""
        with self.teller.step("cost", "What all of this came to") as say:
            report = self.sill.costs.report()
            total = report.total
            say(
                f"{total.usage.cpu_s:.1f} CPU seconds, {total.usd:.5f} USD, {total.energy_wh:.3f} Wh, "
                f"{total.carbon_g:.3f} gCO2e (±{total.uncertainty:.0%}; {total.energy_source}; {total.carbon_source})"
            )
            say(f"{report.predictions} predictions; {self.sent} requests sent, {self.failed} failed")
            self.facts["requests"] = {"sent": self.sent, "failed": self.failed}
            self.facts["cost"] = {
                "cpu_seconds": total.usage.cpu_s,
                "usd": total.usd,
                "energy_wh": total.energy_wh,
                "carbon_g": total.carbon_g,
                "energy_source": total.energy_source,
                "carbon_source": total.carbon_source,
                "uncertainty": total.uncertainty,
                "predictions": report.predictions,
            }

    # what the chapters share

    def ask(self, count: int, *, is_shifted: bool = False) -> None:
        """Send requests about entities drawn at random, one after the other, and wait until they are rows."""
        entities = list(self.features)
        for _ in range(count):
            entity = self._chance.choice(entities)
            features = self.shifted(self.features[entity]) if is_shifted else self.features[entity]
            self.sent += 1
            try:
                answer = self.sill.traffic.infer(self.endpoint, features, entity={self.key: entity})
                self.asked.append((answer.request_id, entity))
            except Exception as wrong:  # counted and shown: the story promises that there is none
                self.failed += 1
                self.teller.say(f"request {self.sent} failed: {wrong}")
        until(self._are_rows, STATE_S_MAX, "the requests become rows", every_s=0.05)

    def label(self, asked: list[tuple[str, str]]) -> int:
        """Deliver the truth about requests; returns how many found their request."""
        return self.sill.traffic.label(self.endpoint, {request: self.truth[entity] for request, entity in asked}).joined

    def follow(self, version: int, wanted: RevisionState) -> list[str]:
        """Send shifted traffic, with its labels, until a version's revision is `wanted`; returns the states it passed."""
        path: list[str] = []
        deadline = time.monotonic() + RUN_S_MAX
        while True:
            revision = self.revision_of(version)
            state = f"{revision.state.value} {revision.weight} %" if revision.weight else revision.state.value
            if not path or path[-1] != state:
                path.append(state)
                self.teller.now(f"version {version}: {state}")
            if revision.state in (RevisionState.LIVE, RevisionState.REJECTED) or time.monotonic() > deadline:
                break
            start = len(self.asked)
            self.ask(2 * REQUESTS_PER_BURST, is_shifted=True)
            self.label(self.asked[start:])
        if revision.state is not wanted:
            raise Refused(
                f"version {version} ended {revision.state.value}: {revision.reason}", fix="This is a fault of Sill."
            )
        return path

    def finished(self, run: Run) -> Run:
        """The run, once it has finished.

        Raises:
            Refused: it failed; the message has the end of its log.
        """

        def ended() -> Run | None:
            current = self.sill.runs.get(run.id)
            return current if current.state.is_final else None

        done = until(ended, RUN_S_MAX, f"run {run.id} ends", every_s=0.2)
        if done.state is not RunState.FINISHED:
            log = self.sill.runs.logs(run.id).text
            raise Refused(
                f"run {run.id} {done.state.value}: {done.reason}\n{log[-3000:]}", fix="This is a fault of Sill."
            )
        return done

    def version(self, number: int) -> ModelVersion:
        """A version of the story's model."""
        return self.sill.models.version(self.endpoint, number)

    def revision_of(self, version: int) -> Revision:
        """The newest revision of a version, once there is one."""

        def found() -> Revision | None:
            revisions = self.sill.endpoints.get(self.endpoint).revisions
            return next((each for each in reversed(revisions) if each.model_version == version), None)

        return until(found, STATE_S_MAX, f"a revision of version {version} is made")

    def drift_incidents(self) -> list[Incident]:
        """Incidents of drift, open and closed."""
        return [each for each in self.sill.monitors.incidents().items if each.kind is IncidentKind.DRIFT]

    def tell_gate(self, say: Any, version: ModelVersion) -> None:
        """The gate's verdict and every check behind it."""
        report = version.gate_report
        if report is None:
            return
        say(f"version {version.version} {version.state.value}: {report.reason}")
        for check in report.checks:
            say(f"  {'✓' if check.passed else '✗'} {check.name}: {check.observed} (required: {check.required})")

    def _are_rows(self) -> bool:
        stats = self.sill.traffic.stats(self.endpoint)
        return sum(each.requests for each in stats if not each.id.endswith("shadow")) >= self.sent - self.failed

    def _fired(self) -> TriggerState | None:
        return next((each for each in self.sill.triggers.list() if each.fired > 0), None)


def version_facts(version: ModelVersion) -> dict[str, Any]:
    """What `--json` says of a version."""
    return {
        "state": version.state.value,
        "metrics": version.spec.evaluation.metrics,
        "gate": msgspec.to_builtins(version.gate_report),
        "run": version.spec.run_id,
        "manifest": version.manifest,
    }


def _params(version: ModelVersion) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(version.spec.params.items()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
