"""Model files: told by their bytes, fully checked, and nothing that can hold code."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue, SillError, UnsupportedType
from sill.safety.formats import ModelFormat, check_onnx, check_safetensors, identify
from sill.safety.onnx_check import SCHEMA

onnx = pytest.importorskip("onnx")


def onnx_model(change: Callable[[Any], None] = lambda model: None) -> bytes:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["n", 2])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    change(model)
    content: bytes = model.SerializeToString()
    return content


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(*offsets: int, shape: Any = (2,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return out.getvalue()


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    out = io.BytesIO()
    save(out)
    return out.getvalue()


def skops(*nodes: dict[str, Any]) -> bytes:
    return zipped(
        schema_dot_json=json.dumps(
            {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": nodes, "protocol": 2}
        ).encode()
    )


def node(module: str, name: str, loader: str = "ObjectNode") -> dict[str, Any]:
    return {"__module__": module, "__class__": name, "__loader__": loader}


LIGHTGBM_HEAD = b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\ntree_sizes=%d %d\n\n"
TREES = (b"Tree=0\nnum_leaves=2\n\n\n", b"Tree=1\nnum_leaves=3\n\n\n")


def lightgbm(*sizes: int) -> bytes:
    return (
        LIGHTGBM_HEAD % (sizes or (len(TREES[0]), len(TREES[1]))) + b"".join(TREES) + b"end of trees\n\nparameters:\n"
    )


XGB = {"learner": {"gradient_booster": {}, "learner_model_param": {}, "objective": {}}, "version": [3, 1, 0]}

GOOD = {
    ModelFormat.ONNX: onnx_model(),
    ModelFormat.SAFETENSORS: safetensors({"w": tensor(0, 8), "__metadata__": {"a": "b"}}, bytes(8)),
    ModelFormat.SKOPS: skops(
        node("sklearn.linear_model._base", "LinearRegression"), node("numpy", "ndarray", "NdArrayNode")
    ),
    ModelFormat.XGBOOST_JSON: json.dumps(XGB, separators=(",", ":")).encode(),
    ModelFormat.LIGHTGBM: lightgbm(),
}


@pytest.mark.parametrize("wanted", GOOD)
def test_good_file_is_identified(wanted: ModelFormat, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(GOOD[wanted])
    assert identify(tmp_path / "model.pkl") is wanted
    assert identify(io.BytesIO(GOOD[wanted])) is wanted


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_model_that_xgboost_saved_is_identified(form: str) -> None:
    xgboost = pytest.importorskip("xgboost")
    data = xgboost.DMatrix(np.arange(40.0).reshape(20, 2), label=np.arange(20) % 2)
    booster = xgboost.train({"max_depth": 2}, data, 3)
    assert identify(bytes(booster.save_raw(form))) is ModelFormat(f"xgboost-{form}")


def test_file_that_safetensors_saved_is_identified() -> None:
    numpy_side = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.zeros((3, 4), np.float16), "b": np.zeros((0, 2), np.int64), "c": np.array(1.0)}
    content = numpy_side.save(arrays, metadata={"k": "v"})
    assert check_safetensors(content).tensors == 3


def test_models_that_skl2onnx_and_torch_export_are_accepted() -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=5).fit(np.random.rand(50, 3), np.arange(50) % 3)
    exported = skl2onnx.to_onnx(model, np.zeros((1, 3), np.float32)).SerializeToString()
    assert "ai.onnx.ml" in check_onnx(exported).domains


EVIL = pickle.dumps(print, protocol=4)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        *((pickle.dumps({"a": [1]}, protocol=version), "pickle") for version in range(6)),
        *((pickle.dumps(print, protocol=version), "pickle") for version in range(6)),
        (zlib.compress(EVIL), "joblib"),
        (gzip.compress(EVIL, mtime=0), "gzip"),
        (zipped(archive__data_dot_pkl=EVIL, archive__version=b"3"), "PyTorch"),
        (zipped(archive__data_dot_pkl=EVIL, schema_dot_json=b"{}"), "PyTorch"),
        (zipped(config_dot_json=b"{}", metadata_dot_json=b"{}"), "Keras"),
        (zipped(x_dot_txt=b""), "zip"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (saved(lambda out: np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)), "NumPy"),
        (saved(lambda out: np.savez(out, a=np.zeros(2))), "NumPy"),
        (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
        (saved(lambda out: tarfile.open(fileobj=out, mode="w").close()), "unknown"),
        (b"", "empty"),
        (b"import os\n", "unknown"),
        (b"{}", "unknown"),
        (b"\x7fELF" + bytes(60), "program"),
    ],
)
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".bin"])
def test_what_is_not_on_the_list_is_refused_under_any_name(
    content: bytes, found: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnsupportedType, match=found) as caught:
        identify(path)
    assert "onnx, safetensors" in str(caught.value)


def test_onnx_fields_are_those_of_the_library() -> None:
    ours = {"Model": "ModelProto", "Graph": "GraphProto", "Node": "NodeProto", "Attribute": "AttributeProto"}
    ours |= {"Tensor": "TensorProto", "Function": "FunctionProto", "Type": "TypeProto", "ValueInfo": "ValueInfoProto"}
    for name, theirs in ours.items():
        assert set(SCHEMA[name]) == {field.number for field in getattr(onnx, theirs).DESCRIPTOR.fields}, name


def test_onnx_summary_counts() -> None:
    summary = check_onnx(onnx_model())
    assert (summary.nodes, summary.tensors, summary.domains) == (1, 1, frozenset({""}))


def external(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)

    return change


def foreign_domain(model: Any) -> None:
    model.graph.node[0].domain = "evil.ops"


def foreign_import(model: Any) -> None:
    model.opset_import.add(domain="evil.ops", version=1)


def external_in_attribute(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add(name="t", type=onnx.AttributeProto.TENSOR)
    attribute.t.data_type = 1
    attribute.t.external_data.add(key="location", value="weights.bin")


def external_in_function(model: Any) -> None:
    attribute = model.functions.add(name="f", domain="d").node.add(op_type="Constant").attribute.add(name="value")
    attribute.t.data_type, attribute.t.data_location = 1, 1


def external_in_sparse(model: Any) -> None:
    model.graph.sparse_initializer.add().values.data_location = 1


def external_in_subgraph(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add(name="body")
    attribute.g.initializer.add(data_type=1).data_location = 1


def wrong_size(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 200


def negative_size(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -2


def overflowing_size(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [2**32, 2**32]


def unknown_type(model: Any) -> None:
    model.graph.initializer[0].data_type = 99


def deep(model: Any) -> None:
    graph = model.graph
    for _ in range(40):
        graph = graph.node.add(op_type="If").attribute.add(name="b").g


@pytest.mark.parametrize(
    "change",
    [
        *(external(where) for where in ("w.bin", "../x", "a/../../x", "/etc/passwd")),
        external_in_attribute,
        external_in_function,
        external_in_sparse,
        external_in_subgraph,
        foreign_domain,
        foreign_import,
        wrong_size,
        negative_size,
        overflowing_size,
        unknown_type,
        deep,
    ],
)
def test_onnx_with_outside_data_foreign_code_or_lies_is_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(InvalidValue):
        identify(onnx_model(change))


def test_onnx_function_of_its_own_domain_is_accepted() -> None:
    def change(model: Any) -> None:
        function = model.functions.add(name="MatMul", domain="pkg.local")
        function.node.add(op_type="Relu", input=["a"], output=["b"])
        model.graph.node[0].domain = "pkg.local"
        model.opset_import.add(domain="pkg.local", version=1)

    assert identify(onnx_model(change)) is ModelFormat.ONNX


@pytest.mark.parametrize(
    "content",
    [
        onnx_model()[:-1],
        onnx_model() + b"\x3a\x00",  # a second graph, which readers would merge
        onnx_model() + b"\xfa\x7f\x01x",  # a field ONNX does not have
        onnx_model() + b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x08\x0a\x12\x04abcd",
    ],
)
def test_onnx_that_is_cut_or_ambiguous_is_refused(content: bytes) -> None:
    with pytest.raises(SillError):
        identify(content)


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"w": tensor(0, 8)}, bytes(8), length=10_000),
        safetensors({"w": tensor(0, 8)}, bytes(8), length=2**39),
        safetensors(b"{" + b" " * 17_000_000 + b"}"),
        safetensors({"w": tensor(0, 8)}, bytes(7)),
        safetensors({"w": tensor(0, 8)}, bytes(9)),
        safetensors({"w": tensor(0, 12)}, bytes(12)),
        safetensors({"w": tensor(8, 0)}, bytes(8)),
        safetensors({"w": tensor(-8, 0)}, bytes(8)),
        safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
        safetensors({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
        safetensors({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)),
        safetensors({"w": tensor(0, 0, shape=[2**32, 2**32])}),
        safetensors({"w": tensor(0, 8, shape=[-2])}, bytes(8)),
        safetensors({"w": tensor(0, 8, shape=[2.0])}, bytes(8)),
        safetensors({"w": tensor(0, 8, dtype="O8")}, bytes(8)),
        safetensors({"w": tensor(0, 8) | {"extra": 1}}, bytes(8)),
        safetensors({"w": 1}),
        safetensors({"__metadata__": {"a": 1}}),
        safetensors(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b"x",
        ),
        safetensors(b"{nonsense}"),
    ],
)
def test_safetensors_that_lies_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidValue):
        identify(content)


def test_safetensors_whose_length_looks_like_a_pickle_is_accepted() -> None:
    header = json.dumps({"w": tensor(0, 8)}).encode()
    content = safetensors(header.ljust(0x0280), bytes(8))
    assert content[:2] == b"\x80\x02"
    assert identify(content) is ModelFormat.SAFETENSORS


@pytest.mark.parametrize(
    "content",
    [
        skops(node("os", "system")),
        skops(node("builtins", "eval", "TypeNode")),
        skops(node("sklearn.linear_model._base", "LinearRegression", "MethodNode")),
        skops(node("operator", "methodcaller", "OperatorFuncNode")),
        skops(node("functools", "partial", "PartialNode")),
        skops(node("numpy", "load", "FunctionNode")),
        skops(node("sklearn.utils.os", "System")),
        skops({"__class__": "x"}),
        zipped(schema_dot_json=b"{nonsense"),
    ],
)
def test_skops_with_a_type_that_is_not_ours_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidValue):
        identify(content)


@pytest.mark.parametrize(
    "content",
    [
        lightgbm(len(TREES[0]) + 1, len(TREES[1])),
        lightgbm(len(TREES[0]), 10**9),
        lightgbm(len(TREES[0]), 0),
        lightgbm().replace(b"tree_sizes", b"tree_sises"),
        lightgbm().replace(b"num_class=1", b"num_class=-1"),
        lightgbm()[:-40],
        b"tree\nversion=v4\n",
        b'{"learner":{},"version":[1]}',
        b'{"learner":{"a":1},"version":[1],"x":1}',
        b'{"version":[1],"version":[2]}',
        b"{L" + (7).to_bytes(8, "big") + b"learner{L" + (2**62).to_bytes(8, "big"),
        b"{i\x07learner" + b"[" * 100,
        b"{i\x07learner[$L#L" + (2**40).to_bytes(8, "big") + b"}",
        b"{i\x07learnerZi\x07learnerZ}",
    ],
)
def test_tree_model_that_lies_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidValue):
        identify(content)


def test_link_and_fifo_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises((OSError, SillError)):
        identify(tmp_path / "model.onnx")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_changed_bytes_never_lead_to_another_error(wanted: ModelFormat, changes: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD[wanted])
    for at, byte in changes:
        content[at % len(content)] = byte
    try:
        identify(bytes(content))
    except SillError as refused:
        assert isinstance(refused, InvalidValue | UnsupportedType)  # noqa: PT017
