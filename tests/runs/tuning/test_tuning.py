"""A search: checked, seeded, and going on where it stopped."""

from typing import Any

import pytest

from sill.core.errors import InvalidValue
from sill.runs.training.types import Tune
from sill.runs.tuning.space import Choice, Float, Int, read_space
from sill.runs.tuning.study import Study, Trial

SPACE: dict[str, Any] = {"rate": [0.001, 1.0, "log"], "depth": [1, 9, "int"], "kind": {"choices": ["a", "b"]}}


def loss(params: dict[str, Any]) -> float:
    return (params["depth"] - 4) ** 2 + abs(params["rate"] - 0.1) + (params["kind"] == "b")


def search(study: Study) -> list[Trial]:
    while (asked := study.ask()) is not None:
        study.tell(Trial(number=asked.number, params=asked.params, value=loss(asked.params)))
    return study.trials


def test_every_form_of_dimension_is_read() -> None:
    assert read_space({**SPACE, "share": [0, 0.5]}) == {
        "rate": Float(low=0.001, high=1.0, is_log=True),
        "depth": Int(low=1, high=9),
        "kind": Choice(choices=("a", "b")),
        "share": Float(low=0.0, high=0.5),
    }


@pytest.mark.parametrize(
    "form",
    [
        [1],
        [2, 1],
        [0, 1, "log"],
        [1, 2, "odd"],
        [1.5, 2, "int"],
        {"choices": []},
        {"values": [1]},
        "x",
        [True, 2],
        [0, float("nan")],
    ],
)
def test_a_form_that_is_not_known_is_refused_by_name(form: Any) -> None:
    with pytest.raises(InvalidValue, match="search space of 'rate'"):
        read_space({"rate": form})


def test_the_same_seed_gives_the_same_search() -> None:
    tune = Tune(trials=15, space=SPACE, direction="minimize")

    assert search(Study(tune, seed=3)) == search(Study(tune, seed=3))
    assert search(Study(tune, seed=3)) != search(Study(tune, seed=4))


def test_tpe_finds_what_is_good() -> None:
    study = Study(Tune(trials=60, space=SPACE, direction="minimize"), seed=1)
    search(study)
    best = study.best()

    assert best is not None
    assert loss(best.params) < 1


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_goes_on_after_its_finished_trials(sampler: str) -> None:
    tune = Tune(trials=8, space=SPACE, direction="minimize", sampler=sampler)
    first = search(Study(tune, seed=1))[:5]
    resumed = Study(tune, seed=1, finished=first)
    trials = search(resumed)

    assert trials[:5] == first
    assert [trial.number for trial in trials] == list(range(8))
    assert len({str(trial.params) for trial in trials}) == 8


def test_failed_trials_are_told_and_never_the_best() -> None:
    study = Study(Tune(trials=2, space=SPACE), seed=1)
    first, second = study.ask(), study.ask()
    assert first is not None
    assert second is not None
    study.tell(Trial(number=0, params=first.params, reason="broken"))
    assert study.best() is None
    study.tell(Trial(number=1, params=second.params, value=0.5))

    assert study.best() == study.trials[1]
    assert study.ask() is None


def test_a_trial_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(InvalidValue, match="trial 7 is not open"):
        Study(Tune(space=SPACE), seed=1).tell(Trial(number=7, params={}))


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"sampler": "guess"}, {"direction": "up"}, {"workers": 99}])
def test_a_declaration_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=str(next(iter(wrong.values())))):
        Study(Tune(**wrong), seed=1)
