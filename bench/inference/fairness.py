"""`python -m bench.inference fairness`: what one tenant feels of another who asks for ten times its share.

Both ask a model that is the bottleneck, each over connections of its own that send their next request with their last
answer. Printed is the quiet tenant's latency alone on the machine, beside one like itself, and beside one with ten times
its connections. The goal compares the last two: how much worse it is for one tenant that the other takes more than its
share. That it is worse than alone is what sharing means: with every core busy, half of them are the other one's.
"""

import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from bench.inference.asking import ask
from bench.inference.home import Home, serving
from bench.inference.load import Found
from bench.inference.models import MODELS, BenchModel
from bench.inference.questions import JSON, Question

MODEL_NAME = "encoder"
SHARE, TIMES = 2, 10
"""Connections of the quiet tenant, and how many times as many the busy one has."""
SECONDS, ROUNDS = 3.0, 6
RISE_MAX = 1.25
"""The goal: the quiet tenant's p99 rises by no more."""


def main() -> None:
    """Measure and print."""
    model = MODELS[MODEL_NAME]
    expected = answer_of(model)
    alone: list[Found] = []
    fair: list[Found] = []
    crowded: list[Found] = []
    with serving([model], {model.name: expected}) as home:
        quiet = home.server(model, expected).questions[JSON]
        busy = as_another(home, quiet)
        for _ in range(ROUNDS):
            alone.append(ask(quiet, SHARE, SECONDS))
            fair.append(beside(quiet, busy, SHARE))
            crowded.append(beside(quiet, busy, SHARE * TIMES))
            rise = crowded[-1].p99_ms / fair[-1].p99_ms
            print(f"   round {len(fair)}: p99 rises {rise:.2f} times", flush=True)
    print(f"{model.name}, a tenant with {SHARE} connections")
    print(f"   alone:             {told(alone)}")
    print(f"   beside one with {SHARE:>3}: {told(fair)}")
    print(f"   beside one with {SHARE * TIMES:>3}: {told(crowded)}")
    print(f"   p99 rises {p99_ms(crowded) / p99_ms(fair):.2f} times; the goal is at most {RISE_MAX:g}")
    print(f"   (p99 beside one at its share is {p99_ms(fair) / p99_ms(alone):.2f} times that alone)")


def answer_of(model: BenchModel) -> Any:
    """What ONNX Runtime itself answers the model's first row."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.make())
    return session.run(["output"], {"input": model.rows(1)})[0]


def as_another(home: Home, asked: Question) -> Question:
    """The same question of another tenant."""
    return replace(asked, headers=asked.headers | {"Authorization": f"Bearer {home.new_token('busy')}"})


def beside(quiet: Question, busy: Question, connections: int) -> Found:
    """What the quiet tenant gets while the other asks, who begins before and ends after it."""
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask, busy, connections, 2 * SECONDS)
        found = ask(quiet, SHARE, SECONDS)
        other.result()
    return found


def told(rounds: list[Found]) -> str:
    """Medians of the rounds."""
    p50_ms = statistics.median(found.p50_ms for found in rounds)
    per_s = statistics.median(found.per_s for found in rounds)
    failed = sum(found.failed for found in rounds)
    return f"p50 {p50_ms:.2f} ms, p99 {p99_ms(rounds):.2f} ms, {per_s:,.0f}/s, {failed} failed"


def p99_ms(rounds: list[Found]) -> float:
    """The median of the rounds' p99."""
    return statistics.median(found.p99_ms for found in rounds)
