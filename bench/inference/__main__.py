"""`python -m bench.inference`: model servers and Sill side by side; prints figures, and how many times better Sill is.

python -m bench.inference --peers tuned,mlflow --models tabular --seconds 3 --results found.json
python -m bench.inference report found.json docs/inference.svg
python -m bench.inference fairness
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.__main__ import machine
from bench.inference import report
from bench.inference.asking import ceiling
from bench.inference.comparing import case, compare
from bench.inference.goals import goals
from bench.inference.home import serving
from bench.inference.models import MODELS
from bench.inference.peers import MODEL, PEERS, PLAIN
from bench.inference.questions import JSON, question
from bench.inference.results import ModelResults, Results, read, write

SECONDS, TURNS = 1.0, 3
"""How long each figure is measured at a time, and how often."""


def main() -> None:
    """Do what the first word says; measure if it is none of the others."""
    words = sys.argv[1:]
    if words[:1] == ["report"]:
        report.main(words[1:])
    elif words[:1] == ["fairness"]:
        from bench.inference import fairness

        fairness.main()
    else:
        measure(arguments(words))


def measure(chosen: argparse.Namespace) -> None:
    """Measure what was asked for, and print it as it is found."""
    results = Results(taken=[machine()])
    print(results.taken[0], flush=True)
    models, peers = [MODELS[name] for name in chosen.models], [PEERS[name] for name in chosen.peers]
    with tempfile.TemporaryDirectory(prefix="sill-bench-") as folder:
        cases = [case(model, Path(folder)) for model in models]
        for line in alone(chosen):
            print(line, flush=True)
        with serving(models, {one.model.name: one.expected for one in cases}) as home:
            for one in cases:
                found = results.models[one.model.name] = ModelResults(one.direct)
                for line in compare(one, home, peers, chosen.seconds, chosen.turns, found):
                    print(line, flush=True)
    for goal in goals(results):
        print(report.told(goal))
    if chosen.results is not None:
        kept = read(chosen.results)
        kept.add(results)
        write(kept, chosen.results)


def alone(chosen: argparse.Namespace) -> list[str]:
    """What the load generator could measure at most."""
    asked = question(JSON, MODELS["tabular"], 0, PLAIN, MODEL, {})
    return [
        f"the load generator alone, c={connections}: {found.per_s:,.0f}/s, p50 {found.p50_ms:.3f} ms"
        for connections, found in ceiling(asked, chosen.seconds).items()
    ]


def arguments(words: list[str]) -> argparse.Namespace:
    """What is to be measured; everything if nothing is said."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m bench.inference", description=__doc__, formatter_class=form)
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument("--models", type=_names(MODELS), default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each figure is measured at a time")
    parser.add_argument(
        "--turns",
        type=int,
        choices=range(1, 10),
        default=TURNS,
        help="how often: a peer and Sill by turns; medians are told",
    )
    parser.add_argument("--results", type=Path, help="a JSON file that what was found is added to")
    return parser.parse_args(words)


def _names(known: dict[str, Any]) -> Any:
    def split(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not known; {', '.join(known)} are")
        return names

    return split


if __name__ == "__main__":
    main()
