"""Turns a run into what an engine starts: the command, and the variables that tell it where it is and who it is."""

import sys
from typing import Any

from sill.core.settings import Settings
from sill.engines.types import StartSpec
from sill.runs.types import SERVE, Run

AGENT = (sys.executable, "-I", "-u", "-m", "sill.agent")
"""What platform kinds run. Isolated: variables and files of the run cannot change what the agent imports."""
REPLICA = (sys.executable, "-I", "-u", "-m", "sill.api.inference", "--listen", "run")
"""What a replica of the inference plane runs."""
REPLICA_SETTINGS = (
    *("public_url", "runtime_pythons", "body_bytes_max", "requests_in_flight_max", "spool_bytes_max", "log_level"),
)
"""Settings of the control plane that hold for its replicas too."""
QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
"""A run's libraries do not report to their makers, unless the run asks for it."""
TOKEN_MARGIN_S = 600
TOKEN_S_MAX = 7 * 24 * 3600
"""How long the token of a run without a timeout is good for."""


def token_seconds(run: Run) -> int:
    """How long the run's token must be good for."""
    return min(int(run.spec.timeout_s) + TOKEN_MARGIN_S, TOKEN_S_MAX) if run.spec.timeout_s else TOKEN_S_MAX


def start_spec(run: Run, token: str, settings: Settings) -> StartSpec:
    """One attempt of the run, ready to start."""
    spec = run.spec
    return StartSpec(
        run_id=run.id,
        attempt=run.attempt,
        command=REPLICA if run.kind == SERVE else spec.command or AGENT,
        env={**QUIET, **_seed(spec.seed), **spec.env, **_place(run, token, settings), **_replica(run, settings)},
        redact=(token,),
        task=spec.task,
        workers=run.workers or spec.resources.workers,
        cpus=spec.resources.cpus,
        memory_bytes=spec.resources.memory_bytes,
        accelerators=spec.resources.accelerators,
        accelerator=run.accelerator,
        devices=run.devices,
        timeout_s=spec.timeout_s,
        resume=spec.resume,
        relay={} if run.kind == SERVE else _relay(run, token, settings),
    )


def _relay(run: Run, token: str, settings: Settings) -> dict[str, Any]:
    """The relay beside a run: its clients show the run's own token. See `sill.relay.__main__.Order`."""
    return {
        "url": settings.url,
        "token": token,
        "secret": token,
        "project": run.project,
        "bytes_max": settings.spool_bytes_max,
        "drain_s": TOKEN_S_MAX,
    }


def _place(run: Run, token: str, settings: Settings) -> dict[str, str]:
    return {
        "SILL_URL": settings.url,
        "SILL_INFERENCE_URL": settings.inference_url,
        "SILL_TOKEN": token,
        "SILL_PROJECT": run.project,
        "SILL_RUN_ID": run.id,
        "SILL_EXPERIMENT": run.experiment,
        "SILL_ATTEMPT": str(run.attempt),
        "SILL_SPOOL_BYTES_MAX": str(settings.spool_bytes_max),
        **_mlflow(run, token, settings),
    }


def _replica(run: Run, settings: Settings) -> dict[str, str]:
    """What a replica of the inference plane is told more. Its home is in its working folder, half its memory for models."""
    if run.kind != SERVE:
        return {}
    given = {name: getattr(settings, name) for name in REPLICA_SETTINGS}
    told = {f"SILL_{name.upper()}": str(value) for name, value in given.items() if value}
    memory_bytes = run.spec.resources.memory_bytes // 2
    return {**told, "SILL_HOME": "home", "SILL_MODEL_CACHE_BYTES": str(memory_bytes)}


def _mlflow(run: Run, token: str, settings: Settings) -> dict[str, str]:
    """What MLflow's client reads. The engine puts the relay's address in the place of ours, where there is one.

    Not MLFLOW_RUN_ID: with it the client refuses a script that chooses its experiment itself. The first run the script
    begins is this one all the same (`adopting`).
    """
    return {
        "MLFLOW_TRACKING_URI": settings.url,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_EXPERIMENT_ID": run.experiment_id,
    }


def _seed(seed: int | None) -> dict[str, str]:
    return {} if seed is None else {"PYTHONHASHSEED": str(seed), "SILL_SEED": str(seed)}
