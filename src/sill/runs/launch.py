"""Turns a run into what an engine starts: the command, and the variables that tell it where it is and who it is."""

import sys

from sill.core.settings import Settings
from sill.engines.types import StartSpec
from sill.runs.types import Run

AGENT = (sys.executable, "-I", "-u", "-m", "sill.agent")
"""What platform kinds run. Isolated: variables and files of the run cannot change what the agent imports."""
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
        command=spec.command or AGENT,
        env={**QUIET, **_seed(spec.seed), **spec.env, **_place(run, token, settings)},
        redact=(token,),
        task=spec.task,
        workers=spec.resources.workers,
        cpus=spec.resources.cpus,
        memory_bytes=spec.resources.memory_bytes,
        accelerators=spec.resources.accelerators,
        timeout_s=spec.timeout_s,
        resume=spec.resume,
    )


def _place(run: Run, token: str, settings: Settings) -> dict[str, str]:
    return {
        "SILL_URL": settings.url,
        "SILL_INFERENCE_URL": settings.inference_url,
        "SILL_TOKEN": token,
        "SILL_PROJECT": run.project,
        "SILL_RUN_ID": run.id,
        "SILL_EXPERIMENT": run.experiment,
        "SILL_ATTEMPT": str(run.attempt),
    }


def _seed(seed: int | None) -> dict[str, str]:
    return {} if seed is None else {"PYTHONHASHSEED": str(seed), "SILL_SEED": str(seed)}
