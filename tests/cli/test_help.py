"""The commands explain themselves, and every one of them is tried by a test here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.cli.terminal import Terminal

from sill.cli.commands import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, by the words that lead to it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_a_help_text_and_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]

    assert command.help
    assert hasattr(command, "commands") or "sill " in (command.epilog or "")
    for parameter in command.params:
        assert getattr(parameter, "help", "") or parameter.name == "help", parameter.name


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_json(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]

    assert hasattr(command, "commands") or any("--json" in parameter.opts for parameter in command.params)


def test_every_command_is_tried_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tried = [re.search(", ".join(f'"{word}"' for word in path), tests) for path in COMMANDS]

    assert [" ".join(path) for path, found in zip(COMMANDS, tried, strict=True) if not found] == []


def test_examples_name_commands_there_are() -> None:
    for path, command in COMMANDS.items():
        for example in re.findall(r"sill (.+)", command.epilog or ""):
            words = [word for word in re.sub(r"-p \w+ ?", "", example).split() if not word.startswith("-")]
            assert tuple(words[: len(path)]) == path, example


def test_help_is_shown_for_nothing_at_all_for_help_and_for_each_command(terminal: Terminal) -> None:
    shown = terminal.done()

    assert terminal.done("--help") == shown
    assert "Start with `sill up`" in shown
    assert "Exit codes: 0 done" in shown
    assert "sill run --workers 2" in terminal.done("run", "--help")
    assert "--keep" in terminal.done("demo", "--help")


def test_a_shell_can_complete(terminal: Terminal) -> None:
    words = {"_SILL_COMPLETE": "complete_bash", "COMP_WORDS": "sill ta", "COMP_CWORD": "1"}

    assert terminal.sill(**words).out.split() == ["tables"]


def test_the_version_is_told(terminal: Terminal) -> None:
    assert terminal.done("--version").startswith("sill ")
