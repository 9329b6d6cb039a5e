"""A search over parameters: Optuna proposes, the caller tries. Finished trials are kept by the caller and told again
after a restart, so that the search goes on where it stopped."""

from collections.abc import Iterable
from typing import Any

from sill.core.errors import InvalidValue, PluginMissing
from sill.core.values import Value
from sill.runs.training.types import Tune
from sill.runs.tuning.space import Choice, Dimension, Int, read_space

TRIALS_MAX = 10_000
SAMPLERS = ("tpe", "random")
DIRECTIONS = ("maximize", "minimize")


class Trial(Value, frozen=True, kw_only=True):
    """One try: parameters, and what came of it. `value` is None if it failed; `reason` says why."""

    number: int
    params: dict[str, Any]
    value: float | None = None
    reason: str = ""


class Study:
    """One search. The same seed and the same results give the same proposals.

    Args:
        tune: what was declared.
        seed: of the sampler.
        finished: trials of an earlier attempt, in order; they are not tried again.
    Raises:
        InvalidValue: the declaration is wrong.
        PluginMissing: Optuna is not installed.
    """

    def __init__(self, tune: Tune, seed: int, finished: Iterable[Trial] = ()) -> None:
        self.tune = check_tune(tune)
        self.space = read_space(tune.space)
        told = tuple(finished)  # they move the seed on, or a restarted random search would propose the same again
        self.trials: list[Trial] = []
        self._open: dict[int, Any] = {}
        self._study = _make_study(tune, seed + len(told))
        for trial in told:
            self._replay(trial)

    def ask(self) -> Trial | None:
        """The next parameters to try; None when all trials were asked for."""
        number = len(self.trials) + len(self._open)
        if number >= self.tune.trials:
            return None
        asked = self._study.ask()
        params = {name: _suggest(asked, name, dimension) for name, dimension in self.space.items()}
        self._open[number] = asked
        return Trial(number=number, params=params)

    def tell(self, trial: Trial) -> None:
        """What came of a trial that was asked for.

        Raises:
            InvalidValue: it was not asked for, or was told already.
        """
        import optuna

        asked = self._open.pop(trial.number, None)
        if asked is None:
            raise InvalidValue(f"trial {trial.number} is not open.")
        failed = optuna.trial.TrialState.FAIL if trial.value is None else None
        self._study.tell(asked, trial.value, state=failed)
        self.trials.append(trial)

    def best(self) -> Trial | None:
        """The best finished trial, the earliest of equals; None if every one failed."""
        finished = [trial for trial in self.trials if trial.value is not None]
        sign = 1 if self.tune.direction == "maximize" else -1
        return max(finished, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)

    def _replay(self, trial: Trial) -> None:
        """Take a finished trial in as the sampler would have seen it."""
        import optuna

        self._study.add_trial(
            optuna.trial.create_trial(
                params=trial.params,
                distributions={name: _distribution(self.space[name]) for name in trial.params},
                value=trial.value,
                state=optuna.trial.TrialState.FAIL if trial.value is None else optuna.trial.TrialState.COMPLETE,
            )
        )
        self.trials.append(trial)


def check_tune(tune: Tune) -> Tune:
    """The declaration itself, if it can be searched.

    Raises:
        InvalidValue: trials, sampler, direction, workers or space are outside what is allowed.
    """
    read_space(tune.space)
    if not 1 <= tune.trials <= TRIALS_MAX:
        raise InvalidValue(f"{tune.trials} trials are not within 1 to {TRIALS_MAX}.", field="tune.trials")
    if tune.sampler not in SAMPLERS:
        raise InvalidValue(f"sampler {tune.sampler!r} is not known; {', '.join(SAMPLERS)} are.", field="tune.sampler")
    if tune.direction not in DIRECTIONS:
        allowed = ", ".join(DIRECTIONS)
        raise InvalidValue(f"direction {tune.direction!r} is not known; {allowed} are.", field="tune.direction")
    if not 1 <= tune.workers <= 64:
        raise InvalidValue(f"{tune.workers} workers are not within 1 to 64.", field="tune.workers")
    return tune


def _make_study(tune: Tune, seed: int) -> Any:
    try:
        import optuna
    except ImportError as missing:
        raise PluginMissing(f"tuning needs {missing.name!r}.", fix="pip install 'sill[train]'") from missing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    random = optuna.samplers.RandomSampler(seed=seed)
    sampler = random if tune.sampler == "random" else optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(direction=tune.direction, sampler=sampler)


def _suggest(asked: Any, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return asked.suggest_categorical(name, dimension.choices)
    if isinstance(dimension, Int):
        return asked.suggest_int(name, dimension.low, dimension.high)
    return asked.suggest_float(name, dimension.low, dimension.high, log=dimension.is_log)


def _distribution(dimension: Dimension) -> Any:
    import optuna

    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return optuna.distributions.IntDistribution(dimension.low, dimension.high)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
