"""Is a tumour malignant? A project file as a user would write it; `sill apply project.py` makes it so."""

from typing import Any

import sill

MEASURES = [
    f"{statistic}_{measure}"
    for statistic in ("mean", "error", "worst")
    for measure in (
        *("radius", "texture", "perimeter", "area", "smoothness"),
        *("compactness", "concavity", "concave_points", "symmetry", "fractal_dimension"),
    )
]

cancer = sill.Project("cancer", note="569 clinical records, scikit-learn's copy of the Wisconsin breast-cancer data")

cells = cancer.table(
    "cells",
    key="patient_id",
    time="measured_at",
    rules=[
        sill.not_null("patient_id"),
        sill.one_of("diagnosis", ["malignant", "benign"]),
        *(sill.between(measure, low=0) for measure in MEASURES),
        *(sill.fill(measure, "median") for measure in MEASURES),
        sill.unique("patient_id", keep="last"),
    ],
)

cancer.ingest(
    cells,
    sill.read(
        "clinic_north.csv",  # decimal commas, local times, radius in micrometres where a technician chose the wrong unit
        delimiter=";",
        decimal=",",
        times=("measured_at",),
        time_format="%d.%m.%Y %H:%M",
        time_zone="Europe/Berlin",
        units=(sill.Unit(column="mean_radius", scale=0.001, above=1000),),
    ),
    sill.read(
        "clinic_south.jsonl",  # other names, times with a zone
        times=("measured_at",),
        rename={"patient": "patient_id", "finding": "diagnosis", "taken": "measured_at", "site": "clinic"},
    ),
)

measurements = cancer.features(
    "measurements",
    entity="patient_id",
    source=cells,
    sql=f"select patient_id, measured_at, clinic, diagnosis, {', '.join(MEASURES)}, "
    "worst_area / mean_area as area_growth from cells",
)


@cancer.train(
    data=measurements,
    label="diagnosis",
    model="diagnosis",
    exclude=["clinic"],
    slices=["clinic", "mean_radius"],
    gate=sill.Gate(metric="accuracy", minimum=0.85, margin=0.03, slice_drop_max=0.15, latency_ms_max=20),
    tune=sill.Tune(
        trials=9,
        metric="accuracy",
        space={
            "family": {"choices": ["linear", "trees", "net"]},
            "strength": [0.01, 10.0, "log"],
            "trees": [20, 60, "int"],
            "width": [8, 32, "int"],
        },
    ),
)
def fit(data: Any, params: dict[str, Any], run: Any) -> Any:
    """A linear model, gradient-boosted trees or a small neural net, as `params` say."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    family = params["family"]
    if family == "linear":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=params["strength"], max_iter=2000))
    elif family == "trees":
        model = GradientBoostingClassifier(n_estimators=params["trees"], max_depth=2, random_state=0)
    else:
        net = MLPClassifier(
            (params["width"],), alpha=params["strength"] / 10, max_iter=1500, solver="lbfgs", random_state=0
        )
        model = make_pipeline(StandardScaler(), net)
    run.info(f"fitting {family} on {len(data.y)} rows")
    return model.fit(data.X, data.y)


@cancer.train(
    name="careless",
    data=measurements,
    label="diagnosis",
    model="diagnosis",
    exclude=["clinic"],
    gate=sill.Gate(metric="accuracy", minimum=0.85, margin=0.03, latency_ms_max=20),
)
def fit_careless(data: Any, params: dict[str, Any], run: Any) -> Any:
    """A worse model on purpose: somebody shuffled the labels. The gate and the judge must stop it."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shuffled = np.random.default_rng(0).permutation(data.y)
    run.info(f"fitting on {len(shuffled)} rows with shuffled labels")
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(data.X, shuffled)


cancer.endpoint(
    "diagnosis",
    model=fit,
    slo=sill.SLO(p99_ms=50, availability=0.999),
    rollout=sill.Canary(shadow_requests=60, steps=(10, 50, 100), step_requests=20, disagreement_max=0.4),
    retrain=sill.on_drift(psi=0.2, labels_min=150),
    monitor={"window_requests": 150},
)
