"""models, endpoints, deploy, revert, approve, infer, label, monitors, incidents, triggers, fire, explain."""

import time
from pathlib import Path

import numpy as np
from tests.cli.terminal import Said, Terminal

FEATURES = '{"age": 30, "income": 50}'
READY_S = 30.0


def infer(terminal: Terminal) -> Said:
    """The first answer, once the inference plane has loaded the model."""
    until_s = time.monotonic() + READY_S
    while True:
        asked = terminal.sill(
            "--json", "infer", "churn", "-", "--entity", "customer_id=c3", said=FEATURES, SILL_PROJECT="shop"
        )
        if asked.code == 0 or time.monotonic() > until_s:
            return asked
        time.sleep(0.5)


def test_a_model_and_its_versions_and_card_are_shown(terminal: Terminal, served: str) -> None:
    assert terminal.json("-p", served, "models")[0]["name"] == "churn"
    assert "champion=1" in terminal.done("-p", served, "models")
    assert "accepted" in terminal.done("-p", served, "models", "churn")
    assert terminal.done("-p", served, "models", "churn", "1").startswith("# churn")


def test_an_answer_is_given_labelled_and_explained(terminal: Terminal, served: str) -> None:
    asked = infer(terminal)
    assert asked.code == 0, asked
    request = asked.json["request_id"]
    until_s = time.monotonic() + READY_S
    while (told := terminal.sill("-p", served, "label", "churn", request, "false")).code and time.monotonic() < until_s:
        time.sleep(0.3)

    assert told.out == "kept.\n", told
    assert terminal.done("-p", served, "label", "churn", request, "false") == "it was known already.\n"
    shown = terminal.done("-p", served, "explain", request)
    assert f"{request} was answered 'false', true: false" in shown
    assert "sill://shop/models/churn/1" in shown
    assert terminal.json("-p", served, "explain", request)["label"] == "false"


def test_an_endpoint_and_its_revisions_are_shown(terminal: Terminal, served: str) -> None:
    assert terminal.json("-p", served, "endpoints")[0]["name"] == "churn"
    shown = terminal.on_terminal("-p", served, "endpoints")

    assert "/v2/models/shop/churn/infer" in shown.out
    assert all(len(line) <= 80 for line in shown.lines)
    assert "first revision of the endpoint" in terminal.done("-p", served, "endpoints", "churn")


def test_what_is_not_there_or_cannot_be_is_refused(terminal: Terminal, served: str) -> None:
    terminal.refused(
        ("not_found|no model 'nope' in project 'shop'", "models", "nope"),
        ("conflict|revision 1 of endpoint 'churn' already", "deploy", "churn", "1"),
        ("conflict|awaits no approval", "approve", "churn", "1"),
        ("conflict", "revert", "churn"),
        ("not_found|no trigger 'nope'", "fire", "nope"),
        ("not_found|req-x|Take the id", "label", "churn", "req-x", "true"),
        ('invalid_value|no JSON object|"age": 41', "infer", "churn", '{"age": 30'),
        ("not_found|no endpoint 'nope'", "infer", "nope", FEATURES),
        ("invalid_value|NAME=VALUE", "infer", "churn", FEATURES, "--entity", "x"),
        SILL_PROJECT=served,
    )


def test_what_watches_is_listed(terminal: Terminal, served: str) -> None:
    assert terminal.json("-p", served, "monitors")[0]["spec"]["endpoint"] == "churn"
    assert "churn" in terminal.done("-p", served, "monitors")
    assert terminal.json("-p", served, "incidents", "--open") == []
    assert terminal.done("-p", served, "incidents").startswith("no incident in project 'shop'")
    assert terminal.json("-p", served, "triggers")[0]["name"] == "churn-retrain-drift"
    assert "no drift on churn so far" in terminal.done("-p", served, "triggers")


def test_a_trigger_is_fired_by_hand(terminal: Terminal, served: str) -> None:
    fired = terminal.json("-p", served, "fire", "churn-retrain-drift")

    assert fired["kind"] == "train"
    assert terminal.sill("-p", served, "cancel", fired["id"]).code in (0, 2)


def test_a_models_file_is_looked_at_and_registered(terminal: Terminal, served: str, tmp_path: Path) -> None:
    import xgboost

    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    data = xgboost.DMatrix(x, (x[:, 0] > 0).astype(int), feature_names=["age", "income"])
    xgboost.train({"objective": "binary:logistic"}, data, 2).save_model(tmp_path / "any-name.ubj")
    path = str(tmp_path / "any-name.ubj")

    shown = terminal.done("-p", served, "register", path)
    assert "xgboost" in shown
    assert "probabilities" in shown

    said = terminal.done("-p", served, "register", path, "boosted", "--metric", "auc=0.9", "--rows", "50")
    assert "boosted version 1 is accepted" in said
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04\x95junk.")
    terminal.refused(("unsupported_type|pickle", "register", str(tmp_path / "model.pkl"), "boosted"))
