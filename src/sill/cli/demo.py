"""demo: the whole loop, told step by step on real data."""

from enum import StrEnum
from typing import Annotated

import typer

from sill.cli.options import add
from sill.cli.output import Options, show_json


class Story(StrEnum):
    """Which story is told."""

    CANCER = "cancer"
    DIGITS = "digits"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    examples = ("sill demo", "sill demo digits", "sill demo --json > told.json", "sill demo --keep")
    add(app, demo, *examples, panel="Platform", is_about_project=False)


def demo(
    story: Annotated[
        Story, typer.Argument(help="cancer: tables and three families of models; digits: images and PyTorch.")
    ] = Story.CANCER,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running, to look at.")] = False,
) -> None:
    """Tell the whole loop on real data, step by step: ingest, train, serve, drift, retrain, roll out."""
    from sill.demo.telling import tell

    told = tell(story.value, keep=keep, is_silent=Options.as_json)
    if Options.as_json:
        show_json(told)
