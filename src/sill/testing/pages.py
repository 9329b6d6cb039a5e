"""The pages of the documentation, the code blocks in them, and how those are run: for the tests of the documentation."""

import gc
import io
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "example"
NOT_RUN = "# not run: "
SECONDS_MAX = 60
"""One block may take so long."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. `prints` is the `text` block right behind it: what it prints, `…` for anything."""

    page: Path
    line: int
    language: str
    code: str
    prints: str = ""

    @property
    def is_run(self) -> bool:
        """Python and shell are run, unless the first line says why not."""
        return self.language in ("python", "sh") and not self.code.startswith(NOT_RUN)

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """README, CHANGELOG and everything under `docs`, README first."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


@cache
def text_of(name: str) -> str:
    """A page's text, by its path from the root."""
    return (ROOT / name).read_text()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, each with what it prints."""
    text = page.read_text()
    found: list[Block] = []
    end_of_last = 0
    for match in _FENCE.finditer(text):
        language, code = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        follows = bool(found) and not text[end_of_last : match.start()].strip()
        if language == "text" and follows and found[-1].is_run:
            last = found.pop()
            found.append(Block(last.page, last.line, last.language, last.code, code))
        else:
            found.append(Block(page, line, language, code))
        end_of_last = match.end()
    return found


def missing_lines(expected: str, printed: str) -> list[str]:
    """Expected lines that are not in what was printed, in this order. Runs of blanks count as one, `…` as anything."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    missing, at = [], 0
    for wanted in (" ".join(line.split()) for line in expected.splitlines() if line.strip()):
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in wanted.split("…")))
        found = next((place for place in range(at, len(lines)) if pattern.fullmatch(lines[place])), None)
        if found is None:
            missing.append(wanted)
        else:
            at = found + 1
    return missing


@contextmanager
def script() -> Iterator[dict[str, Any]]:
    """Names for Python blocks; what they leave open (clients) is let go of at the end, as at the end of a process."""
    names: dict[str, Any] = {"__name__": "__page__"}
    try:
        yield names
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            names.clear()
            gc.collect()


def run(block: Block, folder: Path, names: dict[str, Any]) -> str:
    """What a block prints.

    Args:
        names: of the page's Python blocks; each block sees what those before it have set.
    Raises:
        AssertionError: a shell block failed; the message has what it printed.
    """
    if block.language == "sh":
        return shell(block.code, folder)
    printed = io.StringIO()
    code = compile("\n" * block.line + block.code, block.place, "exec")
    with chdir(folder), redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def shell(code: str, folder: Path) -> str:
    """What a shell script prints, errors too, run in a folder; it ends at the first command that fails.

    Raises:
        AssertionError: it failed; the message has what it printed.
    """
    ended = subprocess.run(
        ["/bin/sh", "-eu", "-c", code],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS_MAX,
    )
    if ended.returncode:
        raise AssertionError(f"exit code {ended.returncode}:\n{code}\n{ended.stdout}")
    return ended.stdout


def with_example(folder: Path) -> Path:
    """The folder, with `docs/example` in it as in a clone."""
    shutil.copytree(EXAMPLE, folder / "docs" / "example", ignore=shutil.ignore_patterns("__pycache__"))
    return folder
