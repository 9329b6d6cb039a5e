"""The small project that the loop is told with: one table, one view, one model, one endpoint."""

from typing import Any

import sill

churn = sill.Project("churn")

customers = churn.table(
    "customers", key="id", time="at", rules=[sill.not_null("id"), sill.unique("id"), sill.between("age", low=0)]
)
churn.ingest(customers, sill.read("customers.csv", times=("at",)))

recent = churn.features(
    "recent",
    entity="id",
    source=customers,
    sql='select id, "at", load, age, load * age as wear, churned from customers',  # AT is a word of SQL
)


@churn.train(data=recent, label="churned", model="churn", gate=sill.Gate(metric="accuracy", minimum=0.7))
def fit(data: Any, params: dict[str, Any], run: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data.X, data.y)


churn.endpoint("churn", model=fit, monitor={"window_requests": 40, "labels_min": 20}, retrain=sill.on_drift())
