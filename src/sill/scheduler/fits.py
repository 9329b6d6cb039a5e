"""Which placements there are by name. A new one is a class with `choose` and `learn` (`placement.Fit`) and a line here."""

from collections.abc import Callable

from sill.core.errors import NotFound
from sill.scheduler.fragmentation import LeastFragmentation, LeastLeft, Scattered
from sill.scheduler.placement import BestFit, Fit, TypeByType, first_fit, worst_fit

FITS: dict[str, Callable[[], Fit]] = {
    "best_fit": BestFit,
    "first_fit": lambda: TypeByType(first_fit),
    "worst_fit": lambda: TypeByType(worst_fit),
    "least_left": LeastLeft,
    "least_fragmentation": LeastFragmentation,
    "scattered": Scattered,
}


def fit_named(name: str) -> Fit:
    """A placement of that name, which has learned nothing yet.

    Raises:
        NotFound: there is none.
    """
    if name not in FITS:
        raise NotFound(f"no placement {name!r}.", fix=f"There are {', '.join(sorted(FITS))}.", field="placement")
    return FITS[name]()
