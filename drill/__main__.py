"""`python -m drill [SECONDS]`: real processes are killed, stopped and replaced at 60 % load; prints what clients saw.

Clients are plain connections that repeat nothing. They share the machine with the gateway and its replicas.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sill.testing.serving_gateway import BODY, GatewayUnderTest
from sill.testing.serving_models import TOKEN, Bundle, classifier, make_signer, plan
from sill.testing.serving_plane import ControlStandIn

CONNECTIONS = 16
SHARE = 0.6
CALM_S = 3.0
BREAK_S = 6.0
"""How long the load goes on after a thing was broken, unless it takes longer."""

Seen = tuple[float, float, int]
"""When a request was sent, the seconds its answer took, its status (0: none)."""


async def ask(port: int, until_s: float, pause_s: float, seen: list[Seen]) -> None:
    """One connection: the next request when its time has come, whether the last one was slow or not."""
    head = (
        f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due_s = time.monotonic()
    while due_s < until_s:
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        sent_s = time.monotonic()
        try:
            writer.write(head + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
            status = int(answer[9:12])
        except (OSError, asyncio.IncompleteReadError):
            status = 0
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        seen.append((sent_s, time.monotonic() - sent_s, status))
        due_s = max(due_s + pause_s, time.monotonic() - 1.0) if pause_s else time.monotonic()
    writer.close()


async def load(port: int, seconds: float, pause_s: float) -> list[Seen]:
    """What all connections saw."""
    seen: list[Seen] = []
    until_s = time.monotonic() + seconds
    await asyncio.gather(*(ask(port, until_s, pause_s, seen) for _ in range(CONNECTIONS)))
    return seen


async def scene(name: str, house: "House", pause_s: float, breaks: Callable[[], str], seconds: float) -> int:
    """Break something in the middle of the load; print and count what failed."""
    asking = asyncio.create_task(load(house.gateway.port, CALM_S + seconds, pause_s))
    await asyncio.sleep(CALM_S)
    broken_s = time.monotonic()
    note = await asyncio.to_thread(breaks)
    seen = await asking
    failed = sum(status != 200 for _, _, status in seen)
    before = [took for sent, took, _ in seen if sent < broken_s]
    during = [took for sent, took, _ in seen if sent >= broken_s]
    after = [took for sent, took, _ in seen if sent >= broken_s + seconds / 2]
    print(
        f"{name:24} {len(seen):6} requests, {failed} failed; p99 {p99(before):.1f} ms before, {p99(during):.1f} from then on, "
        f"{p99(after):.1f} in the second half. {note}",
        flush=True,
    )
    house.gateway.until(house.all_serve, 30)
    return failed


def p99(seconds: list[float]) -> float:
    """In milliseconds."""
    return sorted(seconds)[int(0.99 * len(seconds))] * 1e3 if seconds else 0.0


class House:
    """A control stand-in and a gateway with two replicas."""

    def __init__(self, folder: Path) -> None:
        self.signer = make_signer(folder)
        self.bundle = Bundle(self.signer, classifier())
        self.control = ControlStandIn(folder / "control")
        self.control.publish(plan(self.signer, 1, self.bundle.revision(1, 100)), v1=self.bundle)
        self.control.start()
        self.gateway = GatewayUnderTest(folder / "home", self.control)
        self.gateway.start()

    def all_serve(self) -> bool:
        """True if every replica gets requests."""
        return self.gateway.count("sill_gateway_replica_admitted") == self.gateway.replicas

    def kill(self) -> str:
        """Kill a replica."""
        os.kill(self.gateway.process_ids()[0], signal.SIGKILL)
        begun_s = time.monotonic()
        self.gateway.until(lambda: not self.all_serve(), 5)
        self.gateway.until(self.all_serve, 30)
        return f"It served again after {time.monotonic() - begun_s:.1f} s."

    def stop(self) -> str:
        """Stop a replica for two seconds."""
        victim, begun_s = self.gateway.process_ids()[0], time.monotonic()
        ejected = self.gateway.count("sill_gateway_replica_ejections_total")
        os.kill(victim, signal.SIGSTOP)
        self.gateway.until(lambda: self.gateway.count("sill_gateway_replica_ejections_total") > ejected, 10)
        out_s = time.monotonic() - begun_s
        time.sleep(max(0.0, 2.0 - out_s))
        os.kill(victim, signal.SIGCONT)
        return f"It was out after {out_s:.2f} s."

    def publish_broken(self) -> str:
        """Give half the traffic to a revision whose model is none."""
        broken = Bundle(self.signer, b"no model")
        revisions = (self.bundle.revision(1, 50), broken.revision(2, 50))
        self.control.publish(plan(self.signer, 2, *revisions), v2=broken)
        self.gateway.until(lambda: bool(self.control.reports()), 20)
        return f"Reported: {json.dumps(self.control.reports()[0]['error'])[:60]}."

    def roll(self) -> str:
        """Replace the replicas."""
        before, begun_s = set(self.gateway.process_ids()), time.monotonic()
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGHUP)
        self.gateway.until(
            lambda: len(self.gateway.process_ids()) == 2 and not before & set(self.gateway.process_ids()), 60
        )
        return f"It took {time.monotonic() - begun_s:.1f} s."

    def leave_alone(self, seconds: float) -> str:
        """Take the control plane away."""
        self.control.kill()
        time.sleep(seconds)
        self.control.start()
        return f"It was away for {seconds:.0f} s."

    def close(self) -> None:
        """End everything."""
        self.gateway.stop()
        self.control.kill()
        self.gateway.http.close()


async def drill(house: House, away_s: float) -> int:
    """All scenes; how many requests failed."""
    port = house.gateway.port
    await load(port, 1.0, 0.0)
    capacity = len(await load(port, CALM_S, 0.0)) / CALM_S
    pause_s = CONNECTIONS / (SHARE * capacity)
    print(
        f"{capacity:.0f} requests/s at most; the load is {SHARE:.0%} of it over {CONNECTIONS} connections", flush=True
    )
    failed = await scene("a replica is killed", house, pause_s, house.kill, BREAK_S)
    failed += await scene("a replica is stopped", house, pause_s, house.stop, BREAK_S)
    failed += await scene("a broken revision", house, pause_s, house.publish_broken, BREAK_S)
    failed += await scene("a rolling update", house, pause_s, house.roll, 2 * BREAK_S)
    away = away_s + BREAK_S
    return failed + await scene("control plane is away", house, pause_s, lambda: house.leave_alone(away_s), away)


def main(arguments: list[str]) -> int:
    """Exit code 1 if a request failed. The argument is how long the control plane is away."""
    folder = Path(tempfile.mkdtemp(prefix="sill-drill-"))
    house = House(folder)
    try:
        failed = asyncio.run(drill(house, float(arguments[0]) if arguments else 30.0))
    finally:
        house.close()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{failed} requests failed in all")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
