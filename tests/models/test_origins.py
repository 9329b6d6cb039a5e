"""Sources that climb, name this machine or another server are refused; what is taken means one thing."""

import pytest

from sill.core.errors import InvalidValue
from sill.models.flavors import judge
from sill.models.origins import Origin, check_source


@pytest.mark.parametrize(
    "source",
    [
        *("file:///etc", "/etc", "//proc/self/root", "./../../etc", "\\..\\..\\etc", "file:///etc#x", "etc/passwd"),
        *("file://127.0.0.1/etc", "runs:/run-00000001/../../..", "runs:/x/%2e%2e/%2e%2e", "runs:/x/..%252f..%252fetc"),
        *("http:///#/../../etc", "s3://bucket/a?b=../c", "s3://bucket/a;b", "s3a://bucket/api/../../../", "", "  "),
        *("http://evil/api/2.0/mlflow-artifacts/artifacts/x", "https://evil/x", "ftp://evil/x", "FILE:///etc"),
        *("mlflow-artifacts://host:9000/models/artifact%00", "mlflow-artifacts:/a/..%2f..", "models:/", "models:/x"),
        *("models:/x/1/2", "runs:/", "http://[bad", "mlflow-artifacts:/a\nb", "s3://" + "x" * 3_000),
    ],
)
def test_a_source_that_could_lead_elsewhere_is_refused(source: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_source(source)

    assert refused.value.field == "source"


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("runs:/run-00000001/a/model", Origin("run", "run-00000001", "a/model")),
        ("models:/My Model/3", Origin("version", "My Model", "3")),
        ("models:/churn@champion", Origin("version", "churn", "@champion")),
        ("models:/m-0123abcd", Origin("logged", "m-0123abcd")),
        ("mlflow-artifacts:/0/run-1/artifacts//model/", Origin("artifacts", path="0/run-1/artifacts/model")),
        ("mlflow-artifacts:/models/artifact/....", Origin("artifacts", path="models/artifact/....")),
        ("mlflow-artifacts://host:9000/models", Origin("elsewhere")),
        ("s3://bucket/path/to/model", Origin("elsewhere")),
    ],
)
def test_a_source_means_one_thing(source: str, origin: Origin) -> None:
    assert check_source(source) == origin


def test_a_path_is_taken_only_among_the_artifacts_of_the_run_that_is_named() -> None:
    run_id = "run-00000001"
    for path in (f"/0/{run_id}/artifacts/model", f"artifacts:/0/{run_id}/artifacts/model"):
        assert check_source(path, run_id=run_id) == Origin("run", run_id, "model")
        with pytest.raises(InvalidValue, match="To use a local path"):
            check_source(path)
    for path in ("/tmp", f"/0/x{run_id}/artifacts", f"/0/{run_id}/artifacts.bak", f"/0/{run_id}/artifacts/../x"):
        with pytest.raises(InvalidValue):
            check_source(path, run_id=run_id)


def test_a_prompt_needs_no_address_but_names_no_path() -> None:
    assert check_source("prompt-template", is_prompt=True) == Origin("elsewhere")
    for source in ("/etc/passwd", "file:///etc", "../x", "~/x"):
        with pytest.raises(InvalidValue):
            check_source(source, is_prompt=True)


@pytest.mark.parametrize(
    ("text", "is_loadable", "word"),
    [
        (b"flavors: {onnx: {data: model.onnx}, python_function: {loader_module: mlflow.onnx}}", True, ""),
        (
            b"flavors: {sklearn: {serialization_format: cloudpickle, pickled_model: model.pkl}}",
            False,
            "unpickled: sklearn",
        ),
        (b"flavors: {python_function: {python_model: python_model.pkl}}", False, "unpickled: python_function"),
        (b"flavors: {pytorch: {model_data: data/model.pth}}", False, "unpickled: pytorch"),
        (b"flavors: {pytorch: {model_data: data}}", True, ""),
        (b"flavors: {xgboost: {data: model.ubj}}", True, ""),
        (b"flavors: {xgboost: {data: model.xgb}}", False, "model_format='ubj'"),
        (b"flavors: {lightgbm: {data: model.lgb, serialization_format: skops}}", True, ""),
        (b"flavors: {lightgbm: {data: model.skops, serialization_format: skops}}", False, "log its booster"),
        (b"flavors: {sklearn: {serialization_format: skops, pickled_model: model.skops}}", True, ""),
        (b"flavors: {spacy: {data: model.spacy}}", False, "no flavour that is data alone"),
        (b"flavors: {onnx: {data: [a.onnx, b.onnx]}}", False, "no flavour"),
        (b"flavors: !!python/object/apply:os.system ['true']", False, "cannot be read"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nflavors: {onnx: {data: model.onnx}}", False, "cannot be read"),
        (b"just text", False, "cannot be read"),
        (b"\xff\xfe\x00", False, "cannot be read"),
    ],
)
def test_only_what_needs_no_unpickling_is_loadable(text: bytes, is_loadable: bool, word: str) -> None:
    found = judge(text)

    assert (found.is_loadable, word in found.reason) == (is_loadable, True)
