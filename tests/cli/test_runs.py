"""run, ps, logs, why, cancel, retry, metrics, train, pipeline."""

from pathlib import Path

from tests.cli.terminal import Terminal

TELLS = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ.get('EPOCHS'), os.listdir('.'))"
SLOW = "import time; print('begun', flush=True); time.sleep(60)"


def run_id(terminal: Terminal, *arguments: str) -> str:
    """The id of a run that was submitted and is not waited for."""
    return str(terminal.json("run", "--detach", "--no-code", *arguments)["id"])


def test_a_script_runs_unchanged_with_its_code_arguments_and_exit_code(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import sys\nprint('hello', sys.argv[1:])\nsys.exit(len(sys.argv) - 3)")

    well = terminal.sill("run", "--", "python", "train.py", "--json", "1", cwd=tmp_path)
    badly = terminal.sill("run", "python", "train.py", "--workers", cwd=tmp_path)

    assert (well.code, well.out) == (0, "hello ['--json', '1']\n")
    assert "finished" in well.err
    assert "gCO2e" in well.err
    assert (badly.code, badly.out) == (1, "hello ['--workers']\n")
    assert "failed: the command ended with exit code" in badly.err


def test_workers_know_their_rank_and_the_environment(terminal: Terminal) -> None:
    said = terminal.done(*("run", "--no-code", "--workers", "2", "--env", "EPOCHS=3", "--", "python", "-c", TELLS))

    assert sorted(said.splitlines()) == ["[0] 0 2 3 []", "[1] 1 2 3 []"]


def test_a_failed_run_is_json_with_exit_code_1(terminal: Terminal) -> None:
    ended = terminal.sill("run", "--no-code", "--json", "--retries", "1", "--", "python", "-c", "exit(4)")

    assert (ended.code, ended.err) == (1, "")
    assert (ended.json["state"], ended.json["attempt"], ended.json["name"]) == ("failed", 2, "python")


def test_a_run_is_stopped_at_its_timeout(terminal: Terminal) -> None:
    ended = terminal.sill("run", "--no-code", "--timeout", "1", "--", "sleep", "60")

    assert ended.code == 1
    assert "it ran longer than its timeout of 1 s" in ended.err


def test_wrong_options_are_refused_before_anything_runs(terminal: Terminal) -> None:
    terminal.refused(
        ("invalid_value|nothing to run|sill run -- python train.py", "run"),
        ("invalid_value|--env 'X'|NAME=VALUE", "run", "--env", "X", "--", "true"),
        ("refused|100 cpus|Ask for less", "run", "--cpus", "100", "--no-code", "--", "true"),
        ("invalid_value|--bogus|sill run --help", "run", "--bogus", "--", "true"),
        ("invalid_value|--limit|integer", "ps", "--limit", "x"),
        ("invalid_value|queued, running, finished", "ps", "--state", "lost"),
    )


def test_code_is_sent_without_data_links_and_hidden_folders_and_says_so(terminal: Terminal, tmp_path: Path) -> None:
    for folder in (".git", ".venv", "node_modules", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text("x")
    with (tmp_path / "data" / "big.bin").open("wb") as file:
        file.truncate(5 * 1024**2)
    (tmp_path / "link").symlink_to("/etc/passwd")
    listing = "import os; print(sorted(os.listdir('.')), os.listdir('data'))"

    ended = terminal.sill("run", "--", "python", "-c", listing, cwd=tmp_path)

    assert ended.out == "['data'] ['x']\n"
    assert "not sent with the code: data/big.bin (5.0 MiB), link (a link)." in ended.err


def test_a_folder_that_is_no_code_is_refused_by_name(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for at in range(17):
        with (tmp_path / "images" / f"{at}.png").open("wb") as file:
            file.truncate(4 * 1024**2)

    ended = terminal.sill("run", "--", "true", cwd=tmp_path)

    ended.refused("too_large", "images/ (17 files", "--no-code")


def test_a_run_that_waits_tells_why_and_ctrl_c_leaves_it_going(terminal: Terminal) -> None:
    first = run_id(terminal, "--cpus", "2", "--", "python", "-c", SLOW)
    begun = terminal.on_terminal("logs", first, "--follow", interrupt_at="begun")
    waiting = terminal.on_terminal(
        *("run", "--cpus", "2", "--no-code", "--", "true"), interrupt_at="it waits: needs 2 cpus"
    )
    second = terminal.json("ps", "--limit", "1")[0]["id"]
    shown = terminal.on_terminal("ps", "--limit", "2")

    assert begun.code == waiting.code == 130
    assert f"{second} goes on" in waiting.out
    assert f"sill cancel {second}" in waiting.out
    assert terminal.done("why", second) == "queued: needs 2 cpus, 0 of 2 are free\n"
    assert "running: it runs on" in terminal.done("why", first)
    assert second in shown.out
    assert all(len(line) <= 80 for line in shown.lines), shown.out
    assert terminal.done("cancel", second) == f"{second} is cancelled.\n"
    terminal.sill("retry", first).refused("conflict", "running")
    assert terminal.done("cancel", first) == f"{first} is being stopped.\n"
    terminal.sill("cancel", second).refused("conflict", "cancelled already")


def test_a_run_can_be_looked_at_and_tried_again(terminal: Terminal) -> None:
    failed = terminal.sill("run", "--no-code", "--json", "--", "python", "-c", "print('x' * 300_000); 1/0").json["id"]
    again = terminal.sill("retry", failed)
    logged = terminal.json("logs", failed)

    assert "ZeroDivisionError: division by zero" in terminal.done("why", failed)
    assert (again.code, again.out.count("x")) == (1, 300_000 + again.out.count("ex"))
    assert "x" * 300_000 in terminal.done("logs", failed)
    assert (logged["is_end"], logged["text"].count("ZeroDivisionError")) == (True, 1)
    assert "failed" in terminal.done("ps", "--state", "failed")
    assert terminal.json("ps", "--state", "failed", "--limit", "1")[0]["state"] == "failed"
    assert terminal.done("metrics", failed) == "it has logged nothing.\n"


def test_a_run_that_is_not_there_is_not_found(terminal: Terminal) -> None:
    unknown = "run-01m7yfj6p3yrp5atqq43"
    terminal.refused(
        ("not_found|project 'default'", "logs", unknown),
        ("not_found|project 'default'", "cancel", unknown),
        ("invalid_value|'nope' is not an id", "why", "nope"),
    )


def test_trainings_and_pipelines_are_listed_and_started(terminal: Terminal, shop: Path) -> None:
    assert "profile" in terminal.done("train", "-p", "shop")
    assert terminal.json("pipeline", "-p", "shop")[0]["name"] == "nightly"
    counted = terminal.sill("pipeline", "nightly", "-p", "shop")

    assert counted.code == 0, counted
    assert "step count" in counted.out
    terminal.refused(
        ("not_found|no training 'nope' in project 'shop'", "train", "nope", "-p", "shop"),
        ("not_found|no pipeline 'nope'", "pipeline", "nope", "-p", "shop"),
    )


def test_a_command_that_waits_for_nothing_loads_no_heavy_library(terminal: Terminal) -> None:
    heavy = {
        "numpy",
        "pyarrow",
        "pandas",
        "sqlalchemy",
        "duckdb",
        "onnxruntime",
        "sklearn",
        "torch",
        "uvicorn",
        "starlette",
    }
    looked = terminal.sill("ps", "--json", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in looked.err.splitlines()}

    assert looked.code == 0
    assert "httpx" in loaded
    assert not heavy & loaded
