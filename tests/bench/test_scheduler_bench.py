"""The scheduler's benches read each published trace and come to a table; here on small generated ones."""

import csv
import gzip
import importlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from bench.scheduler import __main__ as command
from bench.scheduler import s2, s7, s8, s10

from sill.core.errors import NotFound
from sill.scheduler.simulation.elasticflow import elasticflow
from sill.scheduler.simulation.shockwave import batch_by_epoch, shockwave
from sill.scheduler.simulation.topology import lingjun, slowdowns_of, spread_jobs

READ = ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10")
"""Those that replay traces; the others make their own load."""
HOURS = 24 * 20


def write(folder: Path, name: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    opened = gzip.open if name.endswith(".gz") else open
    with opened(folder / name, "wt", encoding="utf-8", newline="") as file:
        made = csv.writer(file)
        made.writerow(columns.split(","))
        made.writerows(rows)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few jobs of every trace, in the form they are published in."""
    folder = tmp_path_factory.mktemp("traces")
    _queues(folder)
    _training(folder)
    _fragmentation(folder)
    _topology(folder)
    write(folder, "gaia_pai-100k.csv.gz", "submit_h,duration_h,cpus", [(at / 3, 1 + at % 3, 2) for at in range(300)])
    regions = ("AZ", "CA", "GA", "IL", "NY", "TX", "VA", "WA")
    hours = [(f"h{at}", *(100 + 50 * (at % 24) for _ in regions)) for at in range(HOURS)]
    write(folder, "eia2022_carbon_hourly.csv.gz", ",".join(["utc", *(f"{name}_gco2_kwh" for name in regions)]), hours)
    return folder


def _queues(folder: Path) -> None:
    jobs = [(at * 60, 600 + at * 7 % 500, 2 ** (at % 5)) for at in range(60)]
    write(folder, "itp2021_jobs.csv.gz", "cluster,submit_s,duration_s,gpus", [("04", *job) for job in jobs])
    virtual = [(*job, f"vc{at % 11}") for at, job in enumerate(jobs)]
    write(folder, "philly2017_jobs.csv.gz", "submit_s,duration_s,gpus,vc", virtual)
    muri = [(trace, at, *job) for trace in "1234" for at, job in enumerate(jobs[:12])]
    write(folder, "muri_philly_jobs.csv.gz", "trace,job,submit_s,duration_s,gpus", muri)
    columns = [trace + prime for trace in "1234" for prime in ("", "'")]
    names = ("SRTF", "SRSF", "Tiresias_L", "themis", "Muri_L")
    results = {name: {"avg_jct_s": [1_000.0] * len(columns)} for name in names}
    published = json.dumps({"columns": columns, "results": results})
    (folder / "muri_published_results.json").write_text(published, encoding="utf-8")


def _training(folder: Path) -> None:
    models = ("LM (batch size 40)", "LM (batch size 80)", "ResNet-18 (batch size 128)", "ResNet-18 (batch size 256)")
    speeds = [
        ("v100", near, model, gpus, (10 + at) * gpus ** (0.8 if near else 0.3))
        for near in (0, 1)
        for at, model in enumerate(models)
        for gpus in (1, 2, 4, 8)
    ]
    write(folder, "gavel_throughput_isolated.csv.gz", "gpu,consolidated,job_type,gpus,iters_per_s", speeds)
    modes = ("static", "accordion", "gns")
    jobs = [
        ("120_5_100", at, at * 30, 1_000 + 50 * at, 1, models[at % 2 * 2], 20_000 + 1_000 * at, modes[at % 3])
        for at in range(24)
    ]
    write(folder, "shockwave_jobs.csv.gz", "trace,job,submit_s,duration_s,gpus,model,total_steps,mode", jobs)
    columns = "set,policy,makespan_s,avg_jct_s,p99_jct_s,worst_ftf,unfair_pct_ftf_gt_1_05,cluster_util"
    names = ("Shockwave", "Gavel (max-min)", "Themis (FTF)")
    results = [("tacc_32gpus", name, 5_000, 2_000, 4_000, 1.5, 5.0, 0.8) for name in names]
    write(folder, "shockwave_published_results.csv", columns, results)
    tables = [("A100", "bert", 64, gpus, 5 * gpus**0.7) for gpus in (1, 2, 4, 8)]
    write(folder, "elasticflow_throughput.csv", "gpu,model,global_batch,n_gpus,iters_per_s", tables)
    asked = [(name, at * 100, 600, 2, "bert", 64, 3_000, at * 100 + 700) for name in s8.NODES for at in range(4)]
    columns = "trace,submit_s,duration_s,gpus,model,global_batch,iterations,deadline_s"
    write(folder, "itp2021_elasticflow_jobs.csv.gz", columns, asked)


def _fragmentation(folder: Path) -> None:
    nodes = [(f"{at:04}", 64_000, 262_144, 4, "T4") for at in range(8)] + [("0008", 64_000, 262_144, 0, "")]
    write(folder, "openb2023_nodes.csv.gz", "node,cpu_milli,mem_mib,gpus,model", nodes)
    pods = [
        (variant, f"{at:04}", 4_000, 1_024, 1 + at % 2, 1_000 if at % 2 else 470, "")
        for variant in ("default", "gpushare100")
        for at in range(40)
    ]
    write(folder, "openb2023_pods.csv.gz", "variant,pod,cpu_milli,mem_mib,gpus,gpu_milli,gpu_spec", pods)
    policies = ("01-Random", "05-BestFit", "06-FGD")
    runs = [(variant, policy, 90.0) for variant in ("default", "gpushare100") for policy in policies]
    write(folder, "fgd_published_alloc.csv.gz", "variant,policy,alloc_pct_at_last", runs)


def _topology(folder: Path) -> None:
    hosts = [(at, "core", f"pod{at // 8}", f"rack{at // 2}") for at in range(16)]
    write(folder, "lingjun2023_topology.csv.gz", "host,dsw,psw,asw", hosts)
    steps = [("bert", "placement", placed, 8, step) for placed, step in (("2", 1), ("11", 2), ("4", 1), ("1111", 3))]
    write(folder, "pollux_step_times.csv.gz", "model,kind,gpus_per_node,local_batch,step_s", steps)


@pytest.mark.parametrize("name", READ)
def test_each_bench_comes_to_its_goals(name: str, traces: Path) -> None:
    lines = list(importlib.import_module(f"bench.scheduler.{name}").measure(traces))

    assert any(line.startswith("goal: ") for line in lines)
    assert all(line.endswith("MET") or " MISSED by " in line for line in lines if line.startswith("goal: "))


@pytest.mark.parametrize("name", READ)
def test_without_the_traces_a_bench_says_which_and_where_they_are_published(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        list(importlib.import_module(f"bench.scheduler.{name}").measure(tmp_path))

    assert "It is published at github.com/" in missing.value.fix


def test_all_that_can_run_runs_when_traces_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACES", str(tmp_path))

    assert command.main(["s3", "s6"]) == 1
    assert capsys.readouterr().out.count("not run: no trace") == 2


def test_a_batch_that_grows_ends_a_job_sooner_than_it_was_sized_for(traces: Path) -> None:
    workload = shockwave(traces)
    grown = [
        (runtime_s, job.estimate_s)
        for job, runtime_s in zip(workload.jobs, workload.runtimes_s, strict=True)
        if int(job.id[1:]) % 3
    ]

    assert all(runtime_s < estimate_s for runtime_s, estimate_s in grown)
    assert batch_by_epoch("gns", "LM", 40, 1, 13) == [40] * 11 + [80] * 2
    assert batch_by_epoch("accordion", "LM", 10, 1, 14) == [10] * 10 + [80] * 4
    assert batch_by_epoch("static", "LM", 10, 1, 3) == [10] * 3


def test_slowdowns_are_those_measured_near_and_apart(traces: Path) -> None:
    assert slowdowns_of(traces)[2][0] == pytest.approx(2**0.5)
    assert slowdowns_of(traces)[4][-1] == 3.0


def test_jobs_come_so_fast_that_they_ask_for_the_load(traces: Path) -> None:
    cluster = lingjun(traces, 2)
    workload = spread_jobs(traces, cluster, load=0.5, knows=True)
    asked = sum(job.workers * runtime_s for job, runtime_s in zip(workload.jobs, workload.runtimes_s, strict=True))
    span_s = max(job.submitted_us for job in workload.jobs) / 1e6

    assert len(cluster.nodes) == 8
    assert asked / span_s / 64 == pytest.approx(0.5)


def test_a_deadline_and_the_sizes_a_job_may_have_are_read(traces: Path) -> None:
    job = elasticflow(traces, "cluster01").jobs[0]

    assert (job.deadline_us, job.workers, sorted(job.scaling)) == (700_000_000, 1, [1, 2, 4, 8])


def test_the_bounds_of_goals_are_the_published_ones() -> None:
    assert (s2.LIMITS["1"], s7.BEATEN, s8.BEATEN, s10.GOALS["CA"]) == (0.6, 14, 8, 20.0)
