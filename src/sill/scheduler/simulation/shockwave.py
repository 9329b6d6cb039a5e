"""Shockwave's traces: training jobs that raise their batch size while they run, and so end earlier than they were sized for.

A job is submitted with the run time it would have at its first batch size; the scheduler is told no more than that. What it
really takes follows from the published rules of adaptation: `accordion` keeps the first batch while gradients change fast
and takes the largest otherwise, `gns` doubles it at certain epochs as the gradient's noise grows.

Speeds are those of the trace's own jobs (steps over run time, by model, batch and devices); what no job of the trace was
submitted with is scaled from the nearest batch by Gavel's table. Source of rules, epochs and sizes of the data sets: Zheng et
al., "Shockwave: fair and efficient cluster scheduling for dynamic adaptation in machine learning", NSDI 2023, artifact (MIT).
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

from sill.scheduler.simulation.traces import gpu_cluster, read_rows
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Job

RESTART_S = 20.0
"""What their simulator charges a job that did not run in the round before."""
SAMPLES = {"ResNet-18": 50_000, "ResNet-50": 100_000, "Transformer": 10_000, "LM": 59_675, "Recommendation": 117_907}
"""Samples of an epoch by model."""
LARGEST = {"ResNet-18": 256, "ResNet-50": 128, "Transformer": 128, "LM": 80, "Recommendation": 8_192}
"""The largest batch by model."""
CALM_FROM = 0.3
"""`accordion` keeps the first batch for this part of the epochs in any case."""
DOUBLES = {
    ("ResNet-18", 16, 1): (31, 41, 51, 71),
    ("ResNet-18", 32, 1): (21, 31, 51),
    ("ResNet-18", 64, 1): (11, 31),
    ("ResNet-18", 128, 1): (11,),
    ("ResNet-18", 16, 2): (21, 31, 91, 111),
    ("ResNet-18", 32, 2): (11, 21, 41),
    ("ResNet-18", 64, 2): (21, 41),
    ("ResNet-18", 128, 2): (41,),
    ("ResNet-18", 16, 4): (11, 21, 81, 91),
    ("ResNet-18", 32, 4): (21, 31, 61),
    ("ResNet-18", 64, 4): (11, 61),
    ("ResNet-18", 128, 4): (11,),
    ("ResNet-50", 64, 1): (101,),
    ("ResNet-50", 32, 2): (101, 111),
    ("ResNet-50", 64, 2): (81,),
    ("ResNet-50", 32, 4): (131, 221),
    ("ResNet-50", 64, 4): (191,),
    ("LM", 5, 1): (31, 41, 61, 71),
    ("LM", 10, 1): (11, 21, 41),
    ("LM", 20, 1): (11, 41),
    ("LM", 40, 1): (11,),
    ("LM", 5, 2): (31, 51, 61, 71),
    ("LM", 10, 2): (11, 31, 41),
    ("LM", 20, 2): (31, 41),
    ("LM", 40, 2): (11,),
    ("LM", 5, 4): (11, 31, 71, 91),
    ("LM", 10, 4): (11, 31, 61),
    ("LM", 20, 4): (11, 61),
    ("LM", 40, 4): (61,),
    ("Recommendation", 512, 1): (21, 41, 71, 91),
    ("Recommendation", 1024, 1): (21, 51, 91),
    ("Recommendation", 2048, 1): (21, 41),
    ("Recommendation", 4096, 1): (41,),
}
"""`gns`: epochs at which the batch doubles, by model, first batch and devices."""

Speeds = dict[tuple[str, int, int], float]
"""Steps a second by model, batch and devices."""


def shockwave(folder: Path, trace: str = "120_5_100", devices: int = 32, *, knows: bool = False) -> Workload:
    """One of Shockwave's traces on one pool of devices, as in its simulator; with `knows`, adaptation is foreseen.

    Raises:
        NotFound: the trace or Gavel's table is not in the folder.
    """
    rows = [row for row in read_rows(folder, "shockwave_jobs.csv.gz") if row["trace"] == trace]
    speeds = _speeds(folder, rows)
    jobs, runtimes = [], []
    for row in rows:
        model, batch = _model_of(row["model"])
        held = int(row["gpus"])
        epochs = ceil(int(row["total_steps"]) / ceil(SAMPLES[model] / batch))
        batches = batch_by_epoch(row["mode"], model, batch, held, epochs)
        runtimes.append(sum(SAMPLES[model] / each / speeds[model, each, held] for each in batches))
        jobs.append(
            Job(
                id=f"s{row['job']}",
                accelerators=held,
                submitted_us=round(float(row["submit_s"]) * 1e6),
                estimate_s=runtimes[-1] if knows else float(row["duration_s"]),
                restart_s=RESTART_S,
            )
        )
    return Workload(
        name=f"shockwave-{trace}", cluster=gpu_cluster(1, devices), jobs=tuple(jobs), runtimes_s=tuple(runtimes)
    )


def batch_by_epoch(mode: str, model: str, batch: int, devices: int, epochs: int) -> list[int]:
    """The batch size of each epoch under a mode of adaptation: `static`, `accordion` or `gns`."""
    if mode == "gns":
        doubles = DOUBLES.get((model, batch, devices), ())
        return [min(batch * 2 ** sum(epoch >= at for at in doubles), LARGEST[model]) for epoch in range(epochs)]
    if mode == "accordion" and model != "Transformer":
        calm = (epoch > epochs * CALM_FROM and not _is_critical(model, batch, epoch) for epoch in range(epochs))
        return [LARGEST[model] if is_calm else batch for is_calm in calm]
    return [batch] * epochs


def _is_critical(model: str, batch: int, epoch: int) -> bool:
    """True for the epochs in which gradients change fast, so that the batch stays small."""
    if model == "ResNet-18":
        return epoch < (20 if batch == 256 else 10) or epoch in range(150, 160) or epoch in range(250, 260)
    if model == "ResNet-50":
        return epoch < 600 and epoch % 30 < 10
    if model == "LM":
        return epoch < 10
    first = 40 if batch == 2_048 else 30 if batch < 2_048 else 10
    return epoch < first or epoch in range(60, 70) or epoch in range(80, 90)


def _speeds(folder: Path, rows: list[dict[str, str]]) -> Speeds:
    """Speeds of the trace's own jobs, and from them of every other batch a job may come to."""
    own: Speeds = {}
    for row in rows:
        own[(*_model_of(row["model"]), int(row["gpus"]))] = int(row["total_steps"]) / float(row["duration_s"])
    measured = {
        (*_model_of(row["job_type"]), int(row["gpus"])): float(row["iters_per_s"])
        for row in read_rows(folder, "gavel_throughput_isolated.csv.gz")
        if row["gpu"] == "v100" and row["consolidated"] == "1" and "(batch size " in row["job_type"]
    }
    return own | dict(_scaled(own, measured))


def _scaled(own: Speeds, measured: Speeds) -> Iterator[tuple[tuple[str, int, int], float]]:
    """Speeds of batches no job was submitted with, from the nearest that one was."""
    for (model, batch, held), speed in measured.items():
        near = [key for key in own if key[0] == model and key[2] == held and key in measured]
        if near and speed and (model, batch, held) not in own:
            nearest = min(near, key=lambda key: abs(key[1] - batch))
            yield (model, batch, held), own[nearest] * speed / measured[nearest]


def _model_of(name: str) -> tuple[str, int]:
    """Model and batch size of a name such as `LM (batch size 10)`."""
    model, _, batch = name.removesuffix(")").partition(" (batch size ")
    return model, int(batch)
