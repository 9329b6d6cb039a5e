"""A project file takes note, and sends nothing by itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sill
from sill.core.errors import InvalidValue, NotFound, TooLarge
from sill.projects.types import ProjectSpec
from sill.sdk.loading import load_project, project_spec
from sill.sdk.project import Project

EXAMPLE = """
import sill

churn = sill.Project("churn")
customers = churn.table("customers", key="customer_id", time="updated_at",
                        rules=[sill.between("age", 18, 120), sill.fill("income"), sill.one_of("plan", ["free", "pro"])])

churn.ingest(customers, sill.read("data/*.csv", decimal=","), name="files")

@churn.ingest(customers, every="1h")
def load():
    return sill.read("s3://crm/customers/*.csv")

recent = churn.features("recent", entity="customer_id", source=customers)

@churn.train(data=recent, label="churned", model="churn", tune=sill.Tune(trials=20, metric="auc", space={"c": [0.1, 1.0]}),
             resources=sill.Resources(cpus=2), slices=["plan"])
def fit(data, params, run):
    return 1

nightly = churn.pipeline("nightly", every="1d")

@nightly.step
def clean(params, inputs, run):
    return 1

@nightly.step(needs=[clean], retries=2)
def report(params, inputs, run):
    return 2

churn.endpoint("churn", model=fit, slo=sill.SLO(p99_ms=20), rollout=sill.Canary(steps=[1, 10, 50, 100]),
               retrain=sill.on_drift(psi=0.25, labels_min=50), monitor={"window_requests": 100})
"""


def write(folder: Path, text: str, name: str = "project.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str, name: str = "project.py") -> ProjectSpec:
    return project_spec(load_project(write(folder, text, name)), "d" * 64)


def test_the_example_declares_the_whole_loop(tmp_path: Path) -> None:
    spec = load(tmp_path, EXAMPLE)

    assert [each.function for each in spec.ingestions] == ["", "project:load"]
    assert spec.trainings[0].model == "churn"
    assert spec.trainings[0].code == "d" * 64
    assert spec.features[0].time == "updated_at"
    assert [step.needs for step in spec.pipelines[0].steps] == [(), ("clean",)]
    assert spec.endpoints[0].rollout.steps == (1, 10, 50, 100)


def test_drift_becomes_a_trigger_a_monitor_and_feedback(tmp_path: Path) -> None:
    spec = load(tmp_path, EXAMPLE)
    trigger, monitor = spec.triggers[0], spec.monitors[0]

    assert (trigger.name, trigger.start, trigger.source, trigger.labels_min) == (
        "churn-retrain-drift",
        "fit",
        "churn",
        50,
    )
    assert (monitor.psi_min, monitor.window_requests) == (0.25, 100)
    assert spec.trainings[0].feedback == "churn"


def test_decorated_functions_stay_plain_callables() -> None:
    project = Project("p")

    @project.train(data="view", label="y")
    def fit(data: int, params: int, run: int) -> int:
        return data + params + run

    assert fit(1, 2, 3) == 6


def test_what_the_file_raises_is_told_with_file_line_and_message(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"project\.py:3: ZeroDivisionError: division by zero"):
        load(tmp_path, "import sill\n\n1 / 0\n")
    with pytest.raises(InvalidValue, match=r"project\.py:2: SyntaxError"):
        load(tmp_path, "x = 1\ny = = 2\n")
    with pytest.raises(InvalidValue, match=r"project\.py:1: SystemExit"):
        load(tmp_path, "raise SystemExit(3)")


def test_a_file_with_no_or_two_projects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="declares 0 projects"):
        load(tmp_path, "x = 1")
    with pytest.raises(InvalidValue, match="declares 2 projects"):
        load(tmp_path, "import sill\na = sill.Project('a')\nb = sill.Project('b')")


def test_a_value_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"tables\[0\]\.time|trials"):
        load(tmp_path, "import sill\np = sill.Project('p')\np.table('t', time=7)")


def test_a_missing_or_large_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no project file"):
        load_project(tmp_path / "gone.py")
    with pytest.raises(TooLarge):
        load(tmp_path, "#" * (1024**2 + 1))
    with pytest.raises(InvalidValue, match="no project file"):
        load(tmp_path, "x", "project.toml")


YAML = """
project: churn
tables:
  - name: customers
    key: [id]
    rules: [{rule: between, column: age, low: 18}]
ingestions:
  - {name: files, table: customers, sources: [{url: "data/*.csv"}]}
trainings:
  - {name: fit, function: fit, module: code, data: recent, label: churned, model: churn}
"""


def test_yaml_declares_the_same(tmp_path: Path) -> None:
    spec = load(tmp_path, YAML, "project.yaml")

    assert spec.tables[0].project == "churn"
    assert spec.trainings[0].code == "d" * 64
    assert spec.ingestions[0].code == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("project: p\nproject: q\n", r"project\.yaml:2: 'project' is given twice"),
        ("project: p\nsurprise: 1\n", "surprise"),
        ("a: [1, 2", r"project\.yaml:\d"),
        ("- 1\n", "holds a list"),
        ("a: &x [1]\nb: [" + ", ".join(["*x"] * 21) + "]", "more than 20 aliases"),
        ("[" * 40 + "]" * 40, "deeper than 32"),
        ("a: !!python/object/apply:os.system [ls]", "python/object"),
    ],
)
def test_yaml_that_is_not_right_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        load(tmp_path, text, "project.yaml")


def test_import_sill_is_light_and_its_names_are_there() -> None:
    heavy = ["numpy", "pyarrow", "httpx", "msgspec", "sqlalchemy", "sklearn", "torch"]
    probe = (
        f"import sys, sill; assert not set({heavy!r}) & set(sys.modules), sys.modules; assert 'Project' in dir(sill)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert all(getattr(sill, name) is not None for name in sill.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'surprise'"):
        sill.surprise  # noqa: B018


def test_each_start_becomes_its_own_trigger() -> None:
    project = Project("p")
    table = project.table("t")
    view = project.features("v", entity="id", source=table)

    @project.train(data=view, label="y")
    def fit(*_: Any) -> None: ...

    starts = [sill.on_schedule("1d"), sill.on_data(rows_min=10), sill.on_quality(accuracy_drop_max=0.1)]
    project.endpoint("e", model=fit, retrain=starts)

    found = {trigger.on.value: (trigger.source, trigger.schedule) for trigger in project.spec().triggers}
    assert found == {"schedule": ("", "1d"), "table": ("t", ""), "quality": ("e", "")}


def test_an_endpoint_of_an_unknown_function_is_refused() -> None:
    with pytest.raises(InvalidValue, match="'print' is not a training of project 'p'"):
        Project("p").endpoint("e", model=print)
