"""Every runtime keeps the port's contract, with a real model of each and its own library's answer beside."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from tests.runtimes.conftest import MAKERS, Made

from sill.core.errors import InvalidValue, NotFound, PluginMissing, SillError, Unavailable
from sill.runtimes.drivers import Runtime, files_of, library
from sill.runtimes.port import driver, open_runtime

HOSTILE = (b"", b"not a model", b"\x80\x04\x95junk.", b"PK\x05\x06" + bytes(18), b"{" * 100_000)


@pytest.fixture(scope="module")
def runtime(made: Made) -> Iterator[Runtime]:
    opened = open_runtime(made.runtime, made.folder, python=made.python)
    yield opened
    opened.close()


def test_every_runtime_of_ours_is_tried_here() -> None:
    ours = {entry.name for entry in entry_points(group="sill.runtime") if entry.value.startswith("sill.")}

    assert ours == set(MAKERS)


def test_the_answer_is_the_librarys_own(runtime: Runtime, made: Made) -> None:
    given = runtime.infer(made.rows)

    for name, expected in made.answer.items():
        np.testing.assert_allclose(given[name], expected, rtol=1e-5, atol=1e-6)


def test_the_signature_names_what_goes_in_and_comes_out(runtime: Runtime, made: Made) -> None:
    said = runtime.signature()

    assert {one.name for one in said.inputs} == set(made.rows)
    assert {one.name for one in said.outputs} == set(runtime.infer(made.rows))


def test_a_row_in_a_batch_gets_the_answer_it_gets_alone(runtime: Runtime, made: Made) -> None:
    together = runtime.infer(made.rows)
    alone = runtime.infer({name: rows[2:3] for name, rows in made.rows.items()})

    for name, answer in alone.items():
        np.testing.assert_allclose(answer[0], together[name][2], rtol=1e-5, atol=1e-6)


def test_a_wrong_input_is_the_askers_error(runtime: Runtime, made: Made) -> None:
    name = next(iter(made.rows))
    for wrong in ({}, {**made.rows, "nobody": made.rows[name]}, {name: [["a", "b", "c"]]}, {name: np.zeros((2, 9))}):
        with pytest.raises(InvalidValue):
            runtime.infer(wrong)


def test_several_threads_may_ask_at_once(runtime: Runtime, made: Made) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: runtime.infer(made.rows), range(12)))

    assert all(np.array_equal(one[name], answers[0][name]) for one in answers for name in one)


def test_memory_is_told_and_freed_by_close(made: Made) -> None:
    opened = open_runtime(made.runtime, made.folder, python=made.python)
    assert 0 < opened.memory_bytes() < 2 * 1024**3

    opened.close()
    opened.close()

    assert opened.memory_bytes() == 0
    with pytest.raises(Unavailable):
        opened.infer(made.rows)


def test_a_hostile_file_is_refused_by_its_check_before_a_library_sees_it(made: Made, tmp_path: Path) -> None:
    found = driver(made.runtime)
    found.check(files_of(made.folder))
    for content in HOSTILE:
        (tmp_path / found.model_file).write_bytes(content)
        with pytest.raises(SillError):
            found.check(files_of(tmp_path))
        with pytest.raises(SillError):
            found().load(tmp_path)


def test_an_empty_folder_is_not_found(made: Made, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_runtime(made.runtime, tmp_path, python=made.python)


def test_a_missing_library_is_named_with_its_remedy() -> None:
    with pytest.raises(PluginMissing, match=r"pip install 'sill\[xgboost\]'"):
        library("nobody_wrote_this", "xgboost")
