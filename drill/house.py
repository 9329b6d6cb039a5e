"""What is drilled: a real gateway with two real replicas and a control stand-in, and ways to break them."""

import os
import signal
import time
from pathlib import Path

import msgspec
import psutil

from sill.endpoints.types import PlanRevision, ServingPlan
from sill.testing.serving_gateway import BODY, GatewayUnderTest
from sill.testing.serving_models import REGRESSION, TOKEN, Bundle, classifier, dear_regressor, make_signer, plan
from sill.testing.serving_plane import ControlStandIn

CHEAP, DEAR = "churn", "dear"
PATIENT_MS, DEADLINE_MS = 10_000, 1_000
DEAR_VERSION = 100
"""Beyond the versions of the cheap one: the stand-in keeps files by version alone."""
STOPPED_S = 2.0
"""How long a stopped replica stays so."""
GONE_S, BACK_S, ROLLED_S = 10.0, 30.0, 60.0
"""How long is waited for what should have happened long before."""


def content(model: str, timeout_ms: int) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"X-Sill-Timeout-Ms: {timeout_ms}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY


class House:
    """A cheap model and a dear one behind a gateway with two replicas."""

    def __init__(self, folder: Path) -> None:
        self.least_per_s = float("inf")
        """Answers of the cheap model a second, the least of what was measured so far."""
        self.signer = make_signer(folder)
        self.cheap = Bundle(self.signer, classifier())
        self.dear = Bundle(self.signer, dear_regressor(), REGRESSION)
        self.control = ControlStandIn(folder / "control")
        self.control.publish(
            self.plan(1, self.cheap.revision(1, 100)), v1=self.cheap, **{f"v{DEAR_VERSION}": self.dear}
        )
        self.control.start()
        self.gateway = GatewayUnderTest(folder / "home", self.control)
        self.gateway.start()

    def plan(self, number: int, *revisions: PlanRevision) -> ServingPlan:
        """The cheap model by these revisions, and the dear one."""
        made = plan(self.signer, number, *revisions)
        dear = plan(self.signer, number, self.dear.revision(DEAR_VERSION, 100), name=DEAR, model=DEAR)
        return msgspec.structs.replace(made, endpoints=made.endpoints + dear.endpoints)

    def all_serve(self) -> bool:
        """True if every replica gets requests."""
        return self.gateway.count("sill_gateway_replica_admitted") == self.gateway.replicas

    def kill(self) -> dict[str, float]:
        """Kill a replica, and wait until there are two again."""
        os.kill(self.gateway.process_ids()[0], signal.SIGKILL)
        begun_s = time.monotonic()
        self.gateway.until(lambda: not self.all_serve(), GONE_S)
        self.gateway.until(self.all_serve, BACK_S)
        return {"two serve again after s": time.monotonic() - begun_s}

    def stop(self) -> dict[str, float]:
        """Stop a replica for a while; it comes back by itself."""
        victim, begun_s = self.gateway.process_ids()[0], time.monotonic()
        ejected = self.gateway.count("sill_gateway_replica_ejections_total")
        os.kill(victim, signal.SIGSTOP)
        self.gateway.until(lambda: self.gateway.count("sill_gateway_replica_ejections_total") > ejected, GONE_S)
        out_s = time.monotonic() - begun_s
        time.sleep(max(0.0, STOPPED_S - out_s))
        os.kill(victim, signal.SIGCONT)
        self.gateway.until(self.all_serve, BACK_S)
        return {"out after s": out_s}

    def publish_broken(self) -> dict[str, float]:
        """Give half the traffic to a revision whose model is none; wait until it was found out."""
        begun_s = time.monotonic()
        broken = Bundle(self.signer, b"no model")
        self.control.publish(self.plan(2, self.cheap.revision(1, 50), broken.revision(2, 50)), v2=broken)
        self.gateway.until(lambda: bool(self.control.reports()), BACK_S)
        return {"found out after s": time.monotonic() - begun_s}

    def roll(self) -> dict[str, float]:
        """Replace both replicas."""
        before, begun_s = set(self.gateway.process_ids()), time.monotonic()
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGHUP)

        def is_done() -> bool:
            now = set(self.gateway.process_ids())
            return len(now) == self.gateway.replicas and not before & now

        self.gateway.until(is_done, ROLLED_S)
        return {"replaced after s": time.monotonic() - begun_s}

    def leave_alone(self, seconds: float) -> dict[str, float]:
        """Take the control plane away."""
        self.control.kill()
        time.sleep(seconds)
        self.control.start()
        return {"away s": seconds}

    def memory_mb(self) -> float:
        """What the gateway and its replicas hold."""
        assert self.gateway.process is not None
        gateway = psutil.Process(self.gateway.process.pid)
        return float(sum(one.memory_info().rss for one in (gateway, *gateway.children()))) / 1e6

    def close(self) -> None:
        """End everything."""
        self.gateway.stop()
        self.control.kill()
        self.gateway.http.close()
