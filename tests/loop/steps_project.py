"""A pipeline of three steps; `SCALE` stands for a param that somebody changes between two starts."""

import time
from typing import Any

import sill

steps = sill.Project("steps")
chain = steps.pipeline("chain")
SCALE = 2


@chain.step(params={"rows": 3})
def load(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    run.log_metric("rows", params["rows"])
    return list(range(params["rows"]))


@chain.step(needs=[load], params={"scale": SCALE})
def scale(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    return {"scaled": [value * params["scale"] for value in inputs["load"]], "picture.bin": b"\x00\x01"}


@chain.step(needs=[scale])
def add(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    return sum(inputs["scale"]["scaled"])


failing = steps.pipeline("failing")


@failing.step
def good(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    return 1


@failing.step(needs=[good])
def bad(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    raise ValueError("no rows for today")


@failing.step(needs=[bad])
def never(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    return 3


slow = steps.pipeline("slow")


@slow.step
def wait(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> Any:
    time.sleep(600)
