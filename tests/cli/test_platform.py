"""up, open, apply, top, doctor, backup, restore, demo, and what is said when nobody answers."""

import json
import os
import stat
import time
from pathlib import Path

from tests.cli.terminal import Terminal

from sill.testing.live import Live, free_port

FILES = {
    "syntax.py": ('import sill\np = sill.Project("x"\n', "syntax.py:2: SyntaxError"),
    "raises.py": ("import sill\nraise RuntimeError('boom')\n", "raises.py:2: RuntimeError: boom"),
    "none.py": ("x = 1\n", "declares 0 projects"),
    "wrong.py": ("import sill\np = sill.Project('q')\np.table('t', keyy='x')\n", "wrong.py:3: TypeError"),
    "wrong.yaml": ("project: y\ntables:\n  - nme: t\n", "unknown field `nme`"),
    "notes.txt": ("hello", "is no project file"),
}


def test_up_says_where_it_is_and_ctrl_c_ends_it(terminal: Terminal, tmp_path: Path) -> None:
    port = str(free_port())
    elsewhere = Live(tmp_path / "home")
    begun = time.monotonic()
    shown = terminal.on_terminal("up", "--port", port, "--home", str(elsewhere.home), interrupt_at="Ctrl-C stops it")

    assert shown.code == 0, shown
    assert f"http://127.0.0.1:{port}" in shown.out
    assert "Traceback" not in shown.out
    assert elsewhere.processes() == []  # the inference plane, hardly begun, ends too
    assert time.monotonic() - begun < 45
    assert stat.S_IMODE(os.stat(elsewhere.home / "token").st_mode) == 0o600


def test_up_is_refused_where_it_cannot_be(terminal: Terminal, platform: Live, tmp_path: Path) -> None:
    terminal.sill("up").refused("conflict", "another Sill (process", "another SILL_HOME")
    elsewhere = str(tmp_path / "home")
    terminal.sill("up", SILL_HOME=elsewhere).refused("conflict", f"port {platform.port}", "Address already in use")
    before = str(platform.port - 1)
    terminal.sill("up", "--port", before, SILL_HOME=elsewhere).refused("conflict", f"port {platform.port}")
    terminal.sill("up", SILL_PORT="abc").refused("invalid_value", "SILL_PORT is 'abc'", "docs/settings.md")
    terminal.sill("up", "--port", "99999").refused("invalid_value", "SILL_PORT is '99999'")
    terminal.sill("up", SILL_LOG_LEVEL="loud").refused("invalid_value", "SILL_LOG_LEVEL is 'loud'")
    terminal.sill("up", SILL_HOME="/dev/null/x").refused("invalid_value", "/dev/null")


def test_nobody_answers_and_it_says_so_at_once(terminal: Terminal, tmp_path: Path) -> None:
    begun = time.monotonic()
    terminal.sill("ps", SILL_URL="http://127.0.0.1:9").refused("unavailable", "http://127.0.0.1:9", "sill up")
    assert time.monotonic() - begun < 20  # it is not tried again and again
    terminal.sill("ps", SILL_URL="garbage").refused("invalid_value", "'garbage' is not an address")
    terminal.sill("ps", SILL_HOME=str(tmp_path)).refused("unauthenticated", "there is no token", "sill up")
    refused = terminal.sill("ps", "--json", SILL_URL="http://127.0.0.1:9")
    assert (refused.code, refused.out) == (2, "")
    assert '"code": "unavailable"' in refused.err


def test_mistyped_commands_are_told_what_there_is(terminal: Terminal) -> None:
    terminal.refused(
        ("invalid_value|Did you mean 'ps'?|sill --help", "pss"),
        ("invalid_value|extra|sill ps --help", "ps", "extra"),
        ("invalid_value|Missing argument|sill infer --help", "infer"),
        ("invalid_value|nope", "demo", "nope"),
    )
    assert json.loads(terminal.sill("ps", "--bogus", "--json").err)["code"] == "invalid_value"


def test_a_project_is_applied_twice_and_the_second_time_changes_nothing(terminal: Terminal, shop: Path) -> None:
    again = terminal.sill("apply", cwd=shop)

    assert {change["change"] for change in terminal.sill("apply", "--json", cwd=shop).json["changes"]} == {"unchanged"}
    assert again.out.startswith("project shop\n")
    assert "a project file may print" in again.err
    assert "unchanged" in again.out


def test_a_yaml_project_is_applied(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("project: yam\ntables:\n  - name: t\n    key: [id]\n")

    assert terminal.json("apply", "shop.yaml", cwd=tmp_path)["changes"] == [
        {"kind": "table", "name": "t", "change": "created"}
    ]


def test_a_wrong_project_file_is_refused_with_its_line(terminal: Terminal, tmp_path: Path) -> None:
    for name, (content, _) in FILES.items():
        (tmp_path / name).write_text(content)
    wrong = ((f"invalid_value|{phrase}", "apply", name) for name, (_, phrase) in FILES.items())
    terminal.refused(*wrong, ("not_found|missing.py", "apply", "missing.py"), cwd=tmp_path)


def test_the_console_is_opened_by_a_link(terminal: Terminal, platform: Live) -> None:
    assert terminal.done("open", "--print").startswith(f"{platform.url}/login?code=")
    assert terminal.json("open")["seconds"] > 0


def test_top_looks_once_when_piped_and_again_on_a_terminal(terminal: Terminal, shop: Path) -> None:
    assert "customers" in terminal.done("top", "-p", "shop")
    assert terminal.json("top", "-p", "shop")["project"] == "shop"
    serving = terminal.json("top", "-p", "shop", "--serving", "--once")
    assert {each["endpoint"] for each in serving} <= {"churn"}  # it answers once a test has trained it
    shown = terminal.on_terminal("top", "-p", "shop", "--every", "0.2", interrupt_at="Ctrl-C ends it")

    assert shown.code == 130
    assert "runs: 0 going" in shown.out or "going" in shown.out


def test_doctor_finds_nothing_wrong(terminal: Terminal) -> None:
    assert {finding["status"] for finding in terminal.json("doctor")} <= {"ok", "warning"}
    assert "the database answers and is whole" in terminal.done("doctor")


def test_a_backup_is_written_once_and_restored_into_an_empty_home(
    terminal: Terminal, shop: Path, tmp_path: Path
) -> None:
    file = tmp_path / "sill.tar"
    shown = terminal.on_terminal("backup", str(file))
    assert shown.code == 0, shown
    assert "keep it safe" in shown.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    terminal.sill("backup", str(file)).refused("conflict", "exists already")
    terminal.sill("backup", str(tmp_path / "no" / "where.tar")).refused("invalid_value", "cannot be written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sill.tar"]

    restored = str(tmp_path / "restored")
    assert terminal.sill("restore", str(file), "--json", SILL_HOME=restored).json["rows"] > 0
    terminal.sill("restore", str(file), SILL_HOME=restored).refused("conflict", "has rows already")
    terminal.sill("restore", str(tmp_path / "nope")).refused("not_found", "nope")
