"""Which iris is it? The example the documentation uses; `sill apply docs/example/project.py` makes it so."""

from typing import Any

import sill

flowers = sill.Project("flowers", note="150 irises, scikit-learn's copy of Fisher's data, with a few faults added")

irises = flowers.table(
    "irises",
    key="flower_id",
    time="measured_at",
    rules=[
        sill.not_null("flower_id"),
        sill.one_of("species", ["setosa", "versicolor", "virginica"]),
        sill.between("petal_length", low=0),
        sill.fill("sepal_width", "median"),
        sill.unique("flower_id"),
    ],
)

flowers.ingest(irises, sill.read("flowers.csv", delimiter=";", decimal=",", times=("measured_at",)), name="load")

measures = flowers.features(
    "measures",
    entity="flower_id",
    source=irises,
    sql="select flower_id, measured_at, species, sepal_length, sepal_width, petal_length, petal_width, "
    "petal_length / petal_width as petal_ratio from irises",
)


@flowers.train(
    data=measures,
    label="species",
    model="species",
    gate=sill.Gate(metric="accuracy", minimum=0.8, margin=0.05, latency_ms_max=50),
    slices=["petal_length"],
)
def fit(data: Any, params: dict[str, Any], run: Any) -> Any:
    """A linear model; `data.X` holds the features, `data.y` the species."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    run.info(f"fitting on {len(data.y)} flowers")
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(data.X, data.y)


report = flowers.pipeline("report")


@report.step
def count(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> dict[str, Any]:
    """The first step: its result is JSON, and the input of the next."""
    return {"measures": 4}


@report.step(needs=[count])
def tell(params: dict[str, Any], inputs: dict[str, Any], run: Any) -> str:
    """The second step."""
    return f"{inputs['count']['measures']} measures of each flower"


flowers.endpoint(
    "species",
    model=fit,
    slo=sill.SLO(p99_ms=100, availability=0.999),
    rollout=sill.Canary(shadow_requests=20, steps=(10, 50, 100), step_requests=20),
    retrain=sill.on_drift(psi=0.2, labels_min=50),
    monitor={"window_requests": 50},
)
