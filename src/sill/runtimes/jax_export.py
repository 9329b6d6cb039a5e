"""A JAX function that `jax.export` wrote (`exported.serialize()`), behind the port, in a confined process of its own."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sill.core.errors import Refused
from sill.core.names import shorten
from sill.runtimes.drivers import Held, cannot_load, library, loaded, read_model
from sill.runtimes.fitting import DATATYPES, fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.program_check import check_calls, check_jax_export

MODEL_FILE = "model.jax"
_FIX = "Export a function of plain arrays with jax.export, for the platform cpu."


class _Program(NamedTuple):
    """A loaded function, the forms of its arguments and answer, and whether all of them have rows of any number."""

    call: Any
    form: Any
    has_free_rows: bool


class JaxExport(Held):
    """One exported function. Several plain arguments are `input_0`, `input_1` ...; those of a dict keep their names."""

    model_file = MODEL_FILE
    look = staticmethod(check_jax_export)
    must_confine = True

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`."""
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        library("jax.export", "jax")

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. It is compiled when the first question of its size comes."""
        data = read_model(bundle, MODEL_FILE)
        check_jax_export(io.BytesIO(data))
        self.warm()
        jax, export = library("jax", "jax"), library("jax.export", "jax")
        try:
            exported = export.deserialize(bytearray(data))
            program = exported.mlir_module()
        except Exception as broken:  # the library raises its own classes, all of them about this file
            raise cannot_load("JAX", broken, _FIX) from broken
        check_calls(program)
        self._signature = _signature(jax, exported)
        free = all(spec.shape[:1] == (-1,) for spec in (*self._signature.inputs, *self._signature.outputs))
        self._model = _Program(jax.jit(exported.call), exported.in_tree, free)
        self._size_bytes = len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. Rows are filled up to a power of two: each number of them is compiled once."""
        import jax
        import numpy as np

        program: _Program = loaded(self._model)
        signature = self.signature()
        fed = list(fit(signature.inputs, inputs).values())
        rows = len(fed[0]) if program.has_free_rows else 0
        if rows:
            more = (1 << (rows - 1).bit_length()) - rows
            fed = [np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) for array in fed]
        args, kwargs = jax.tree_util.tree_unflatten(program.form, fed)
        try:
            made = jax.tree_util.tree_leaves(program.call(*args, **kwargs))
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        arrays = (
            [np.asarray(array)[: rows or None] for array in made] if program.has_free_rows else map(np.asarray, made)
        )
        return {spec.name: array for spec, array in zip(signature.outputs, arrays, strict=True)}


def _signature(jax: Any, exported: Any) -> Signature:
    inputs = _tensors(jax, exported.in_tree, exported.in_avals, "input", 2)
    outputs = _tensors(jax, exported.out_tree, exported.out_avals, "output", 0)
    return Signature(inputs=inputs, outputs=outputs, task="other")


def _tensors(jax: Any, tree: Any, values: Any, plain: str, skipped: int) -> tuple[TensorSpec, ...]:
    """The tensors of a tree of arguments or answers, each named by its way there.

    Args:
        skipped: steps of the way that everything shares, such as the place among the arguments.
    """
    found, _ = jax.tree_util.tree_flatten_with_path(jax.tree_util.tree_unflatten(tree, list(values)))
    specs = []
    for place, (way, value) in enumerate(found):
        keys = [str(getattr(step, "key", getattr(step, "name", getattr(step, "idx", step)))) for step in way]
        is_keyword = skipped and keys[:1] == ["1"]
        named = keys[1:] if is_keyword else keys[skipped:]
        name = "_".join(named) or (plain if len(found) == 1 else f"{plain}_{place}")
        name = name if not name.isdigit() else f"{plain}_{name}"
        kind = str(value.dtype)
        if kind not in DATATYPES:
            raise Refused(f"{shorten(name)!r} is a {kind}; plain numbers are allowed.", fix=_FIX)
        shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
        specs.append(TensorSpec(name=name, datatype=DATATYPES[kind], shape=shape))
    if len({spec.name for spec in specs}) != len(specs) or not specs:
        raise Refused(f"its {plain}s have no names of their own.", fix=_FIX)
    return tuple(specs)
