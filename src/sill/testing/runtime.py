"""What every runtime must do. Subclass, and give the fixtures `runtime`, `bundle` and `rows`."""

from pathlib import Path
from typing import Any

import pytest

from sill.core.errors import InvalidValue, NotFound, Refused, Unavailable, UnsupportedType
from sill.runtimes.port import Runtime


class RuntimeContract:
    """The suite. Subclasses define three fixtures.

    runtime: a fresh, empty runtime. bundle: the bytes of a model with one batched input.
    rows: named inputs for it, at least three rows each.
    """

    def test_it_is_a_runtime(self, runtime: Runtime) -> None:
        assert isinstance(runtime, Runtime)

    def test_nothing_answers_before_a_model_is_loaded(self, runtime: Runtime, rows: dict[str, Any]) -> None:
        with pytest.raises(Unavailable):
            runtime.infer(rows)

    def test_outputs_are_those_of_the_signature_one_for_each_row(
        self, runtime: Runtime, bundle: bytes, rows: dict[str, Any]
    ) -> None:
        runtime.load(bundle)
        answers = runtime.infer(rows)

        assert set(answers) == {tensor.name for tensor in runtime.signature().outputs}
        assert {len(answer) for answer in answers.values()} == {len(next(iter(rows.values())))}

    def test_a_row_does_not_depend_on_its_neighbours(
        self, runtime: Runtime, bundle: bytes, rows: dict[str, Any]
    ) -> None:
        import numpy as np

        runtime.load(bundle)
        together = runtime.infer(rows)
        alone = runtime.infer({name: values[1:2] for name, values in rows.items()})

        for name, answer in alone.items():
            np.testing.assert_allclose(answer[0], together[name][1], rtol=1e-5, atol=1e-6)

    def test_the_same_rows_get_the_same_answer(self, runtime: Runtime, bundle: bytes, rows: dict[str, Any]) -> None:
        import numpy as np

        runtime.load(bundle)
        first, second = runtime.infer(rows), runtime.infer(rows)

        assert all(np.array_equal(first[name], second[name]) for name in first)

    def test_a_folder_with_the_model_loads_as_its_bytes_do(
        self, runtime: Runtime, bundle: bytes, rows: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "model.onnx").write_bytes(bundle)
        runtime.load(tmp_path)

        assert runtime.infer(rows)

    def test_an_unknown_or_missing_input_is_refused(
        self, runtime: Runtime, bundle: bytes, rows: dict[str, Any]
    ) -> None:
        runtime.load(bundle)

        with pytest.raises(InvalidValue, match="missing"):
            runtime.infer({})
        with pytest.raises(InvalidValue, match="not known"):
            runtime.infer({**rows, "nobody": next(iter(rows.values()))})

    def test_bytes_that_are_no_model_are_refused(self, runtime: Runtime) -> None:
        with pytest.raises((Refused, InvalidValue, UnsupportedType)):
            runtime.load(b"this is not a model")

    def test_an_empty_folder_is_not_found(self, runtime: Runtime, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            runtime.load(tmp_path)
