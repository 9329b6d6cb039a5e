"""MLflow's own tests against Sill: `python conformance/mlflow.py DIR`, where DIR is a checkout of mlflow/mlflow.

Starts a Sill in a folder of its own, runs the tests in the environment of the client (`requirements/peers/
mlflow-conformance.txt`) with `mlflow_plugin` pointing them at it, and prints what passed, failed and is not applicable,
with the reasons of the latter, which are kept in `mlflow-not-applicable.txt`. Tests that never speak to a server are
counted apart. Exit code 0 if at least 95 % of what is applicable passed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from sill.testing.control_plane import ControlPlane
from sill.testing.peers import environment

HERE = Path(__file__).resolve().parent
TESTS = (
    *("test_rest_tracking.py", "test_model_registry.py", "test_mlflow_artifacts.py", "test_client.py"),
    *("test_client_webhooks.py", "test_client_workspace.py", "test_tracking.py", "test_artifact_utils.py"),
    *("test_log_figure.py", "test_log_image.py", "_model_registry", "_tracking_service", "fluent"),
)
SHARE_MIN = 0.95
SETTINGS = {"SILL_OUTBOUND_ALLOW": "127.0.0.0/8", "SILL_ARTIFACT_ROOTS": "s3://bucketname"}
TEST_S_MAX = 180


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of mlflow/mlflow at the client's release")
    parser.add_argument("--only", action="append", default=[], help="a file or test below tests/tracking; repeatable")
    parser.add_argument("--client", default="", help="Python with the client and pytest, instead of the locked one")
    parser.add_argument("--say", type=Path, help="also write every outcome here, as JSON lines")
    given, more = parser.parse_known_args()  # the rest is for pytest
    client = given.client or str(environment("mlflow-conformance"))
    with tempfile.TemporaryDirectory(prefix="sill-conformance-") as folder:
        outcomes = given.say or Path(folder) / "outcomes.jsonl"
        outcomes.unlink(missing_ok=True)
        run(client, given.checkout.resolve(), Path(folder), outcomes, given.only, more)
        return report(read(outcomes))


def run(client: str, checkout: Path, folder: Path, outcomes: Path, only: list[str], more: list[str]) -> None:
    """Start the platform, run the tests, stop it."""
    names = {name.removeprefix("SILL_").lower(): value for name, value in SETTINGS.items()}
    plane = ControlPlane(folder / "home", **names)
    plane.start()
    try:
        token = (plane.home / "token").read_text().strip()
        netrc = folder / "netrc"
        netrc.write_text(
            "".join(f"machine {host} login sill password {token}\n" for host in ("127.0.0.1", "localhost"))
        )
        netrc.chmod(0o600)
        own = {
            "NETRC": str(netrc),
            "PYTHONPATH": str(HERE / "plugins"),
            "MLFLOW_TESTING": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "SILL_CONFORMANCE_URL": plane.url,
            "SILL_CONFORMANCE_TOKEN": token,
            "SILL_CONFORMANCE_PYTHON": sys.executable,
            "SILL_CONFORMANCE_HOME": str(folder),
            "SILL_CONFORMANCE_SETTINGS": json.dumps(SETTINGS),
            "SILL_CONFORMANCE_OUTCOMES": str(outcomes),
            "SILL_CONFORMANCE_NOT_APPLICABLE": "\n".join("\t".join(pair) for pair in not_applicable()),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SILL_", "MLFLOW_"))}
        bin_folder = str(Path(client).parent)
        kept["PATH"] = f"{bin_folder}{os.pathsep}{kept.get('PATH', '')}"
        tests = [f"tests/tracking/{name}" for name in only or TESTS]
        options = [
            "-p",
            "mlflow_plugin",
            "-q",
            "--no-header",
            "--tb=no",
            "-rN",
            "--continue-on-collection-errors",
            "-p",
            "no:cacheprovider",
        ]
        command = [client, "-m", "pytest", *options, "-o", f"timeout={TEST_S_MAX}", "--rootdir", str(checkout), *tests]
        subprocess.run([*command, *more], cwd=checkout, env=kept | own, check=False)
    finally:
        plane.stop()


def not_applicable() -> list[tuple[str, str]]:
    """Patterns of test ids with the reason why the tests say nothing about this server."""
    lines = (HERE / "mlflow-not-applicable.txt").read_text().splitlines()
    pairs = [line.partition("  # ") for line in lines if line and not line.startswith("#")]
    return [(pattern.strip(), reason.strip()) for pattern, _, reason in pairs]


def read(outcomes: Path) -> dict[str, dict[str, object]]:
    """The outcome of each test; one that failed at any stage failed."""
    found: dict[str, dict[str, object]] = {}
    for line in outcomes.read_text().splitlines() if outcomes.exists() else ():
        outcome = json.loads(line)
        if found.get(outcome["test"], {}).get("outcome") != "failed":
            found[outcome["test"]] = outcome
    return found


def report(found: dict[str, dict[str, object]]) -> int:
    """Print the counts and lists; the exit code."""
    reasons = Counter(
        str(each["said"]).partition("not applicable: ")[2]
        for each in found.values()
        if each["outcome"] == "skipped" and "not applicable: " in str(each["said"])
    )
    passed = [test for test, each in found.items() if each["outcome"] == "passed" and each["spoke"]]
    failed = [test for test, each in found.items() if each["outcome"] == "failed"]
    alone = [test for test, each in found.items() if each["outcome"] == "passed" and not each["spoke"]]
    others = Counter(str(each["outcome"]) for each in found.values())
    for test in failed:
        print(f"FAILED {test}: {found[test]['said']}")
    for test, each in found.items():
        if each["outcome"] == "not collected":
            print(f"not run, because it cannot be imported: {test}: {each['said']}")
    for reason, count in reasons.most_common():
        print(f"not applicable ({count}): {reason}")
    share = len(passed) / max(1, len(passed) + len(failed))
    print(
        f"passed {len(passed)}, failed {len(failed)}: {share:.1%} of what concerns the server; not applicable "
        f"{reasons.total()}; without a server {len(alone)}; skipped by the tests themselves "
        f"{others['skipped'] - reasons.total()}, expected to fail {others['xfailed']}"
    )
    return 0 if passed and share >= SHARE_MIN else 1


if __name__ == "__main__":
    raise SystemExit(main())
