"""Trainings of every library and kind, small; and those that must fail, each with a reason."""

from typing import Any

import sill

models = sill.Project("models")
customers = models.table("customers", key="id", time="at")
models.ingest(customers, sill.read("customers.csv", times=("at",)))
recent = models.features(
    "recent", entity="id", source=customers, sql='select id, "at", load, age, plan, spend, churned from customers'
)
one_class = models.features(
    "one_class", entity="id", source=customers, time="", sql="select id, load, churned from customers where churned"
)
few = models.features(
    "few", entity="id", source=customers, time="", sql="select id, load, churned from customers limit 8"
)

CHURN = {"data": recent, "label": "churned", "exclude": ["plan", "spend"], "retries": 0}
GATE = sill.Gate(metric="accuracy", minimum=0.7)


@models.train(model="boosted", gate=GATE, params={"depth": 3}, **CHURN)
def boosted(data: Any, params: dict[str, Any], run: Any) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=20, max_depth=params["depth"], random_state=0).fit(data.X, data.y)


@models.train(
    model="tuned",
    gate=GATE,
    tune=sill.Tune(trials=5, metric="accuracy", workers=3, space={"strength": [0.01, 10.0, "log"]}),
    **CHURN,
)
def tuned(data: Any, params: dict[str, Any], run: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=params["strength"]).fit(data.X, data.y)


@models.train(
    data=recent,
    label="spend",
    model="spend",
    exclude=["plan", "churned"],
    gate=sill.Gate(metric="rmse", minimum=5.0),
    retries=0,
)
def spending(data: Any, params: dict[str, Any], run: Any) -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(data.X, data.y)


models.endpoint("spend", model=spending, monitor={"window_requests": 40, "labels_min": 20})


@models.train(model="broken", **CHURN)
def raises(data: Any, params: dict[str, Any], run: Any) -> Any:
    raise RuntimeError("the sensor is broken")


@models.train(model="broken", **CHURN)
def returns_nothing(data: Any, params: dict[str, Any], run: Any) -> Any:
    return None


@models.train(model="broken", **CHURN)
def answers_nan(data: Any, params: dict[str, Any], run: Any) -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(data.X, data.y)
    model.coef_ = np.full_like(model.coef_, np.nan)
    return model


@models.train(data=one_class, label="churned", model="broken", retries=0)
def knows_one_class(data: Any, params: dict[str, Any], run: Any) -> Any:
    raise AssertionError("never called")


@models.train(data=few, label="churned", model="broken", retries=0)
def has_few_rows(data: Any, params: dict[str, Any], run: Any) -> Any:
    raise AssertionError("never called")


@models.train(data=recent, label="churned", model="broken", retries=0)
def reads_texts(data: Any, params: dict[str, Any], run: Any) -> Any:
    raise AssertionError("never called")
