"""The same for what models and files are made of: datasets and logged models of runs, artifacts, the registry."""

from itertools import product

import pytest
from tests.conformance.mlflow.replay import Both, Replay
from tests.conformance.mlflow.test_differential import API, dataset, every_answer_is_equal, experiment, run

__all__ = ["every_answer_is_equal"]

pytestmark = [pytest.mark.peer("mlflow"), pytest.mark.timeout(300)]

FILES = "/api/2.0/mlflow-artifacts/artifacts"


def test_datasets_of_runs(replay: Replay) -> None:
    home = experiment(replay, "inputs")
    one, two = run(replay, home), run(replay, home, 1)

    def log(of: Both, *datasets: object) -> None:
        replay.post(API + "runs/log-inputs", run_id=of, datasets=list(datasets))

    log(one, dataset("rows", "d1", "train", schema='{"a": 1}', profile='{"rows": 5}'))
    log(one, dataset("rows", "d1", "train"))
    log(one, dataset("rows", "d2"), dataset("other", "d1", "validation"))
    log(two, dataset("rows", "d1", "eval"))
    log(one)
    log(one, dataset("n" * 501, "d"))
    log(one, dataset("n", "d" * 37))
    replay.post(API + "runs/log-inputs", run_id="absent", datasets=[dataset("rows", "d1")])
    for each in (one, two):
        replay.get(API + "runs/get", run_id=each)
    replay.post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=[home])
    odd = run(replay, experiment(replay, "inputs-odd"))
    with replay.known("a dataset without name, digest or source is none", theirs=200, ours=400):
        for given in (dataset("", "d"), dataset("n", ""), {"dataset": {"name": "n", "digest": "d"}}, {"tags": []}):
            log(odd, given)


def test_logged_models(replay: Replay) -> None:
    home = experiment(replay, "logged")
    one = run(replay, home)

    def make(**given: object) -> Both:
        body = {"experiment_id": home, "name": "net", "model_type": "agent", **given}
        return replay.post(API + "logged-models", **body)["model"]["info"]["model_id"]

    pairs = {"params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "x"}]}
    net, other, bare = make(source_run_id=one, **pairs), make(name="other"), make(name="bare", model_type=None)
    for name in ("a/b", "a:b", "x" * 300, "per%cent", 'quo"te'):
        make(name=name)
    make(experiment_id="999999")
    at = {"id": net}
    path = API + "logged-models/{id}"
    replay.get(path, at)
    replay.get(path, {"id": "m-absent"})
    for status in ("LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"):
        replay.patch(path, at, model_id=net, status=status)
    replay.patch(path + "/tags", at, model_id=net, tags=[{"key": "t", "value": "y"}, {"key": "u", "value": ""}])
    replay.delete(path + "/tags/{key}", {"id": net, "key": "u"})
    replay.delete(path + "/tags/{key}", {"id": net, "key": "absent"})
    replay.post(path + "/params", at, model_id=net, params=[{"key": "q", "value": "2"}])
    metric = {"key": "auc", "value": 0.5, "timestamp": 5, "step": 1, "model_id": net}
    replay.post(API + "runs/log-metric", run_id=one, **metric)
    on_rows = {**metric, "step": 2, "dataset_name": "rows", "dataset_digest": "d1"}
    replay.post(API + "runs/log-batch", run_id=one, metrics=[on_rows])
    replay.post(API + "runs/log-inputs", run_id=one, models=[{"model_id": net}])
    replay.post(API + "runs/outputs", run_id=one, models=[{"model_id": other, "step": 3}])
    replay.get(path, at)
    replay.get(API + "runs/get", run_id=one)
    search_logged(replay, home)
    odd = make(name="odd", **pairs)
    with replay.known(
        "params of a model may be set again, as in MLflow's folders; its databases refuse", theirs=400, ours=200
    ):
        replay.post(path + "/params", {"id": odd}, model_id=odd, params=[{"key": "p", "value": "changed"}])
    with replay.known("a state that is none is refused, and does not overwrite the one there is", theirs=200, ours=400):
        replay.patch(path, {"id": odd}, model_id=odd, status="NONSENSE")
    with replay.known("a model has one value for each dataset at one step", theirs=400, ours=200):
        at_once = [{**on_rows, "model_id": odd, "dataset_digest": digest} for digest in ("d1", "d2")]
        replay.post(API + "runs/log-batch", run_id=one, metrics=at_once)
    replay.delete(path, {"id": odd})
    replay.delete(path, {"id": bare})
    replay.get(path, {"id": bare})
    with replay.known("what was deleted is not there to be deleted again", theirs=200, ours=404):
        replay.delete(path, {"id": bare})
    replay.post(API + "logged-models/search", experiment_ids=[home])


def search_logged(replay: Replay, home: Both) -> None:
    filters = (
        "",
        "name = 'net'",
        "name LIKE 'o%'",
        "params.p = '1'",
        "tags.t = 'y'",
        "metrics.auc > 0.4",
        "status = 'READY'",
    )
    for text in (*filters, "name ="):
        replay.post(API + "logged-models/search", experiment_ids=[home], filter=text)
    with replay.known("a client's mistake is not told as a fault of the server", theirs=500, ours=400):
        replay.post(API + "logged-models/search", experiment_ids=[home], filter="attributes.nonsense = 1")
    for order in ("name", "creation_timestamp", "metrics.auc", "nonsense"):
        for ascending in (True, False):
            by = [{"field_name": order, "ascending": ascending}]
            replay.post(API + "logged-models/search", experiment_ids=[home], order_by=by)
    token: object = None
    for _ in range(3):
        given = {"experiment_ids": [home], "max_results": 1, "order_by": [{"field_name": "name"}]}
        token = replay.post(API + "logged-models/search", page_token=token, **given)["next_page_token"]


def test_artifacts(replay: Replay) -> None:
    made = replay.post(API + "runs/create", experiment_id=experiment(replay, "files"), start_time=1)
    one, base = made["run"]["info"]["run_id"], made["run"]["info"]["artifact_uri"]
    root = Both(*(str(uri).removeprefix("mlflow-artifacts:/") for uri in (base.theirs, base.ours)))

    def put(path: str, content: bytes) -> None:
        replay.raw("PUT", FILES + "/{root}/" + path, content, {"root": root})

    for path, content in (("a.txt", b"one"), ("dir/b.bin", bytes(range(256)) * 40), ("dir/deep/c.json", b'{"a": 1}')):
        put(path, content)
    put("a.txt", b"two")
    put("empty", b"")
    put("sp ace ünï.txt", b"x")
    for path in ("a.txt", "dir/b.bin", "dir/deep/c.json", "empty", "sp ace ünï.txt", "absent"):
        replay.raw("GET", FILES + "/{root}/" + path, b"", {"root": root})
    for path in (None, "", "dir", "dir/deep", "a.txt", "absent", "../..", "/etc", "dir/../.."):
        replay.get(API + "artifacts/list", run_id=one, **({} if path is None else {"path": path}))
    for path in ("dir", "absent"):
        replay.get(FILES, path=Both(f"{root.theirs}/{path}", f"{root.ours}/{path}"))
    with replay.known(
        "a folder is not there as a file, and a path that leaves its folder reaches nothing", theirs=400, ours=404
    ):
        replay.raw("GET", FILES + "/{root}/dir", b"", {"root": root})
        for path in ("%2e%2e/x", "dir/%2e%2e/%2e%2e/x", "dir%2f..%2f..%2fx"):
            put(path, b"escaped")
            replay.raw("GET", FILES + "/{root}/" + path, b"", {"root": root})
    for path in ("a.txt", "a.txt"):
        replay.raw("DELETE", FILES + "/{root}/" + path, b"", {"root": root})
    replay.get(API + "artifacts/list", run_id=one)
    replay.get(API + "artifacts/list", run_id="absent")
    replay.raw("GET", "/get-artifact", path="dir/b.bin", run_uuid=one)
    replay.raw("GET", "/get-artifact", path="../x", run_uuid=one)


def test_registered_models(replay: Replay) -> None:
    def make(name: object, **more: object) -> None:
        replay.post(API + "registered-models/create", name=name, **more)

    make("net", description="A net.", tags=[{"key": "t", "value": "1"}])
    for name in ("net", "", None, "a/b", "a:b", "Big Name (v2)", "ünï"):
        make(name)
    with replay.known("a name fits its column, whatever the database", theirs=200, ours=400):
        make("x" * 257)
    for name in ("net", "absent", "", "Big Name (v2)"):
        replay.get(API + "registered-models/get", name=name)
    replay.patch(API + "registered-models/update", name="net", description="Better.")
    replay.patch(API + "registered-models/update", name="absent", description="x")
    for key, value in (("t", "2"), ("u", ""), ("", "x"), ("k" * 251, "x"), ("long", "v" * 100_001)):
        replay.post(API + "registered-models/set-tag", name="net", key=key, value=value)
    for key in ("u", "absent"):
        replay.delete(API + "registered-models/delete-tag", name="net", key=key)
    replay.get(API + "registered-models/get", name="net")
    for new in ("renamed", "Big Name (v2)", "", "a/b"):
        replay.post(API + "registered-models/rename", name="net", new_name=new)
    replay.get(API + "registered-models/get", name="renamed")
    for name in ("renamed", "renamed", "absent"):
        replay.delete(API + "registered-models/delete", name=name)
    replay.get(API + "registered-models/get", name="renamed")


def test_versions(replay: Replay) -> None:
    made = replay.post(API + "runs/create", experiment_id=experiment(replay, "versions"), start_time=1)
    one, uri = made["run"]["info"]["run_id"], made["run"]["info"]["artifact_uri"]
    source = Both(f"{uri.theirs}/model", f"{uri.ours}/model")
    replay.post(API + "registered-models/create", name="tree")
    for more in ({"run_id": one}, {"run_id": one, "description": "d", "tags": [{"key": "a", "value": "b"}]}):
        replay.post(API + "model-versions/create", name="tree", source=source, **more)
    for given in (
        {"name": "absent", "source": "s3://bucket/model"},
        {"name": "tree", "source": ""},
        {"name": "tree", "source": "file:///etc/passwd"},
        {"name": "tree", "source": "/etc/passwd"},
        {"name": "tree", "source": "mlflow-artifacts:/../../etc"},
        {"name": "tree", "source": "s3://bucket/model"},
        {"name": "tree"},
    ):
        replay.post(API + "model-versions/create", **given)
    for version in ("1", "2", "3", "99", "0", "-1", "x", ""):
        replay.get(API + "model-versions/get", name="tree", version=version)
    replay.get(API + "model-versions/get-download-uri", name="tree", version="1")
    replay.patch(API + "model-versions/update", name="tree", version="1", description="told")
    for key, value in (("t", "1"), ("", "x"), ("k" * 251, "x")):
        replay.post(API + "model-versions/set-tag", name="tree", version="1", key=key, value=value)
    replay.delete(API + "model-versions/delete-tag", name="tree", version="1", key="t")
    stages(replay)
    aliases(replay)
    search_registry(replay)
    for version in ("3", "3"):
        replay.delete(API + "model-versions/delete", name="tree", version=version)
    replay.post(API + "registered-models/rename", name="tree", new_name="oak")
    replay.get(API + "registered-models/get", name="oak")
    replay.get(API + "model-versions/get", name="oak", version="2")
    replay.delete(API + "registered-models/delete", name="oak")
    replay.get(API + "model-versions/get", name="oak", version="2")


def stages(replay: Replay) -> None:
    for stage, archive in (
        ("Staging", False),
        ("production", False),
        ("Archived", False),
        ("None", False),
        ("x", False),
    ):
        given = {"stage": stage, "archive_existing_versions": archive}
        replay.post(API + "model-versions/transition-stage", name="tree", version="1", **given)
    for version, archive in (("1", True), ("2", True), ("3", False), ("99", False)):
        given = {"stage": "Production", "archive_existing_versions": archive}
        replay.post(API + "model-versions/transition-stage", name="tree", version=version, **given)
    for given in ({}, {"stages": ["Production"]}, {"stages": ["None"]}, {"stages": ["nonsense"]}):
        replay.post(API + "registered-models/get-latest-versions", name="tree", **given)
    replay.get(API + "registered-models/get-latest-versions", name="absent")


def aliases(replay: Replay) -> None:
    for alias, version in (
        ("champion", "1"),
        ("champion", "2"),
        ("other", "2"),
        ("", "1"),
        ("v1", "1"),
        ("latest", "1"),
    ):
        replay.post(API + "registered-models/alias", name="tree", alias=alias, version=version)
    for alias, version in (("Big-One_2", "1"), ("a b", "1"), ("a/b", "1"), ("x" * 257, "1"), ("gone", "99")):
        replay.post(API + "registered-models/alias", name="tree", alias=alias, version=version)
    for alias in ("champion", "other", "absent", ""):
        replay.get(API + "registered-models/alias", name="tree", alias=alias)
    for alias in ("other", "other"):
        replay.delete(API + "registered-models/alias", name="tree", alias=alias)
    replay.get(API + "registered-models/get", name="tree")


def search_registry(replay: Replay) -> None:
    for at in range(5):
        tags = [{"key": "n", "value": str(at % 2)}]
        replay.post(API + "registered-models/create", name=f"find-{at}", tags=tags)
        replay.post(API + "model-versions/create", name=f"find-{at}", source="s3://bucket/x", tags=tags)
    models = (
        "name LIKE 'find-%'",
        "name ILIKE 'FIND%'",
        "name = 'find-1'",
        "tags.n = '1'",
        "name LIKE 'find-%' AND tags.n != '1'",
    )
    orders = (["name ASC"], ["name DESC"], ["last_updated_timestamp DESC", "name"], ["nonsense"])
    for text, order in product((*models, "nonsense = 1", "version = 1"), orders):
        replay.get(API + "registered-models/search", filter=text, order_by=order, max_results=50)
    versions = ("name = 'tree'", "name LIKE 'find-%'", "run_id = 'x'", "source_path = 's3://bucket/x'", "tags.n = '0'")
    more = ("version_number > 1", "name = 'tree' AND version_number <= 2", "run_id IN ('a', 'b')", "nonsense = 1")
    for text in (*versions, *more):
        replay.get(
            API + "model-versions/search", filter=text, order_by=["name ASC", "version_number DESC"], max_results=50
        )
    token: object = None
    for _ in range(3):
        given = {"filter": "name LIKE 'find-%'", "max_results": 2, "order_by": ["name"]}
        page = replay.get(API + "registered-models/search", **given, **({"page_token": token} if token else {}))
        token = page["next_page_token"]
    replay.get(API + "registered-models/search", max_results=1_001)
    with replay.known("a page of none is no page", theirs=200, ours=400):
        for limit in (0, -1):
            replay.get(API + "registered-models/search", max_results=limit)


def test_bad_requests(replay: Replay) -> None:
    for body in (b"", b"{", b"[]", b'"x"', b"null", b"5", b'{"name": 1, "name": 2}', b"\xff\xfe", b'{"unknown": 1}'):
        for path in ("experiments/create", "runs/create", "runs/log-batch", "runs/search", "registered-models/create"):
            replay.raw("POST", API + path, body)
    for path in ("nonsense", "experiments/nonsense", "runs/get/x", ""):
        replay.get(API + path)
    for method, path in (("DELETE", "runs/get"), ("PUT", "experiments/create"), ("GET", "experiments/create")):
        replay.raw(method, API + path)
    with replay.known("each has a version and a word of its own that it is well", theirs=200, ours=200):
        for path in ("/version", "/health"):
            replay.raw("GET", path)
    for prefix in ("/ajax-api/2.0/mlflow/", "/api/3.0/mlflow/"):
        replay.get(prefix + "experiments/get", experiment_id="0")
