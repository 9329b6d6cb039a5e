"""Models one after another or side by side, in one process of their own: tensors pass between them in memory.

`pipeline.json` names the steps; each has its runtime, its folder in the bundle, and where its inputs come from: `name`
of the pipeline's own inputs, or `step.output`. A step may come in any order; a circle is refused when it is registered.
Outputs of the pipeline come from one place, or are the mean of several (an ensemble).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.core.values import Value
from sill.runtimes.drivers import Driver, Files, Held, Runtime, files_of, folder_of, loaded, read_spec
from sill.runtimes.fitting import NUMPY, fit
from sill.runtimes.port import driver
from sill.runtimes.types import Signature
from sill.safety.paths import check_relative

MODEL_FILE = "pipeline.json"
STEPS_MAX = 32
SOURCES_MAX = 32


class Step(Value, frozen=True, kw_only=True):
    """One model. `inputs` maps each of its inputs to where it comes from."""

    name: str
    runtime: str
    folder: str
    inputs: dict[str, str]


class PipelineSpec(Value, frozen=True, kw_only=True):
    """What `pipeline.json` says. `outputs` maps each output to its places; of several, the mean is taken."""

    steps: tuple[Step, ...]
    outputs: dict[str, tuple[str, ...]]
    signature: Signature


class Pipeline(Held):
    """The steps, loaded, in an order in which each finds its inputs."""

    model_file = MODEL_FILE

    def __init__(self) -> None:
        super().__init__()
        self._spec: PipelineSpec | None = None
        self._order: tuple[Step, ...] = ()
        self._models: dict[str, Runtime] = {}

    @staticmethod
    def check(files: Files) -> None:
        """See `Driver.check`: of the description, and of each step's own files. A step that is code or a program is refused."""
        for step in in_order(_spec(files)):
            _driver(step).check(lambda path, folder=step.folder: files(f"{folder}/{path}"))  # type: ignore[misc]

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        folder = folder_of(bundle, "a pipeline is a folder: its description and its steps")
        spec = _spec(files_of(folder))
        self._order = in_order(spec)
        for step in self._order:
            self._models[step.name] = _driver(step)()
            self._models[step.name].load(folder / step.folder, device)
        self._spec, self._signature = spec, spec.signature

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        spec = loaded(self._spec)
        held = dict(fit(spec.signature.inputs, inputs))
        for step in self._order:
            answer = self._models[step.name].infer({name: _at(held, source) for name, source in step.inputs.items()})
            held |= {f"{step.name}.{name}": array for name, array in answer.items()}
        kinds = {one.name: NUMPY[one.datatype] for one in spec.signature.outputs}
        return {
            name: _joined([_at(held, place) for place in places], kinds[name]) for name, places in spec.outputs.items()
        }

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`."""
        return sum(model.memory_bytes() for model in self._models.values())

    def close(self) -> None:
        """See `Runtime.close`."""
        super().close()
        for model in self._models.values():
            model.close()
        self._spec, self._models = None, {}


def _spec(files: Files) -> PipelineSpec:
    """What `pipeline.json` says.

    Raises:
        InvalidValue: it cannot be read, or has too many steps, a name twice, or outputs that its signature does not name.
    """
    with files(MODEL_FILE) as opened:
        spec = read_spec(opened, PipelineSpec, MODEL_FILE)
    names = [step.name for step in spec.steps]
    if not 1 <= len(names) <= STEPS_MAX or len(set(names)) != len(names) or not all(map(str.isidentifier, names)):
        raise InvalidValue(f"a pipeline has 1 to {STEPS_MAX} steps, each of its own plain name.", field=MODEL_FILE)
    if set(spec.outputs) != {one.name for one in spec.signature.outputs}:
        raise InvalidValue("the pipeline's outputs are not those of its signature.", field=MODEL_FILE)
    if not all(1 <= len(places) <= SOURCES_MAX for places in spec.outputs.values()):
        raise InvalidValue(f"an output comes from 1 to {SOURCES_MAX} places.", field=MODEL_FILE)
    for step in spec.steps:
        check_relative(step.folder, "folder")
    return spec


def in_order(spec: PipelineSpec) -> tuple[Step, ...]:
    """The steps in an order in which each finds its inputs.

    Raises:
        InvalidValue: steps that wait for each other, or a place that nothing gives.
    """
    given = {one.name for one in spec.signature.inputs}
    names = {step.name for step in spec.steps}
    done: list[Step] = []
    left = list(spec.steps)
    while left:
        made = given | {step.name for step in done}
        ready = [step for step in left if all(_giver(place) in made for place in step.inputs.values())]
        if not ready:
            raise _unmet(left, given | names)
        done += ready
        left = [step for step in left if step not in ready]
    for place in (place for places in spec.outputs.values() for place in places):
        if _giver(place) not in given | names:
            raise InvalidValue(f"nothing in the pipeline gives {shorten(place)!r}.", field=MODEL_FILE)
    return tuple(done)


def _unmet(left: list[Step], known: set[str]) -> InvalidValue:
    places = [place for step in left for place in step.inputs.values() if _giver(place) not in known]
    if places:
        return InvalidValue(f"nothing in the pipeline gives {shorten(places[0])!r}.", field=MODEL_FILE)
    circle = ", ".join(step.name for step in left)
    return InvalidValue(f"the steps {shorten(circle)} wait for each other.", fix="Break the circle.", field=MODEL_FILE)


def _giver(place: str) -> str:
    return place.partition(".")[0]


def _driver(step: Step) -> type[Driver]:
    try:
        found = driver(step.runtime)
    except NotFound as unknown:
        raise InvalidValue(f"there is no runtime {shorten(step.runtime)!r}.", fix=unknown.fix) from unknown
    if found.must_confine or found.model_file == MODEL_FILE:
        raise InvalidValue(
            f"step {step.name!r} is of the runtime {step.runtime!r}, which no step may be.",
            fix="Register code or a program as a version of its own, or export the program to ONNX.",
        )
    return found


def _at(held: Mapping[str, Any], place: str) -> Any:
    if place not in held:
        raise InvalidValue(f"the step {_giver(place)!r} gives no {shorten(place)!r}.", fix="Compare its signature.")
    return held[place]


def _joined(arrays: list[Any], kind: str) -> Any:
    import numpy as np

    return (arrays[0] if len(arrays) == 1 else np.mean(arrays, axis=0)).astype(kind, copy=False)
