"""The three models everybody serves, made from fixed seeds: a table's row, a small image, a short text."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261121
FEATURES = 30
TREES, DEPTH = 50, 4
PIXELS = 28
TOKENS, WORDS, WIDTH, HEADS, LAYERS = 64, 1_000, 128, 4, 4
OPSETS = (("", 17), ("ai.onnx.ml", 3))


@dataclass(frozen=True)
class BenchModel:
    """One model: how its file is made, and what one row of its input `input` is. Its one output is `output`."""

    name: str
    make: Callable[[], bytes]
    datatype: str
    shape: tuple[int, ...]
    answer: tuple[int, ...]

    def rows(self, count: int, seed: int = SEED) -> Any:
        """So many rows of input."""
        random = np.random.default_rng(seed)
        if self.datatype == "INT64":
            return random.integers(0, WORDS, (count, *self.shape), dtype=np.int64)
        # Six digits, as measured things have; more would be noise that every parser pays for.
        return np.round(random.normal(0.0, 10.0, (count, *self.shape)), 4).astype(np.float32)

    def write(self, folder: Path) -> Path:
        """Its file, in a folder."""
        path = folder / f"{self.name}.onnx"
        path.write_bytes(self.make())
        return path


def tabular() -> bytes:
    """Gradient-boosted trees over 30 numbers, one number out."""
    from onnx import helper

    random = np.random.default_rng(SEED)
    inner, leaves = 2**DEPTH - 1, 2**DEPTH
    per_tree = range(inner + leaves)
    every = [(tree, node) for tree in range(TREES) for node in per_tree]
    is_leaf = [node >= inner for _, node in every]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["input"],
        ["output"],
        domain="ai.onnx.ml",
        nodes_treeids=[tree for tree, _ in every],
        nodes_nodeids=[node for _, node in every],
        nodes_modes=["LEAF" if leaf else "BRANCH_LEQ" for leaf in is_leaf],
        nodes_featureids=[0 if leaf else int(random.integers(FEATURES)) for leaf in is_leaf],
        nodes_values=[0.0 if leaf else float(random.normal(0, 8)) for leaf in is_leaf],
        nodes_truenodeids=[0 if node >= inner else 2 * node + 1 for _, node in every],
        nodes_falsenodeids=[0 if node >= inner else 2 * node + 2 for _, node in every],
        target_treeids=[tree for tree, node in every if node >= inner],
        target_nodeids=[node for _, node in every if node >= inner],
        target_ids=[0] * TREES * leaves,
        target_weights=[float(random.normal()) for _ in range(TREES * leaves)],
        n_targets=1,
    )
    return _model([node], {}, "FLOAT", [None, FEATURES], [None, 1])


def cnn() -> bytes:
    """Two convolutions and a dense layer over an image of 28 × 28, ten numbers out."""
    from onnx import helper

    random = np.random.default_rng(SEED)
    weights = {
        "c1": _normal(random, 8, 1, 3, 3),
        "c2": _normal(random, 16, 8, 3, 3),
        "d": _normal(random, 16 * 49, 10),
    }
    stride = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["input", "c1"], ["a"], **stride),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "c2"], ["c"], **stride),
        helper.make_node("Relu", ["c"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["g"]),
        helper.make_node("Softmax", ["g"], ["output"], axis=-1),
    ]
    return _model(nodes, weights, "FLOAT", [None, 1, PIXELS, PIXELS], [None, 10])


def encoder() -> bytes:
    """A transformer encoder of four layers over 64 tokens, their mean out (128 numbers)."""
    from onnx import helper

    random = np.random.default_rng(SEED)
    weights: dict[str, Any] = {
        "words": _normal(random, WORDS, WIDTH),
        "one": np.ones(WIDTH, np.float32),
        "zero": np.zeros(WIDTH, np.float32),
        "scale": np.array((WIDTH // HEADS) ** -0.5, np.float32),
        "split": np.array([0, TOKENS, HEADS, WIDTH // HEADS], np.int64),
        "join": np.array([0, TOKENS, WIDTH], np.int64),
    }
    nodes = [helper.make_node("Gather", ["words", "input"], ["x0"])]
    for layer in range(LAYERS):
        made, named = _layer(layer, random)
        nodes += made
        weights |= named
    nodes.append(helper.make_node("ReduceMean", [f"x{LAYERS}"], ["output"], axes=[1], keepdims=0))
    return _model(nodes, weights, "INT64", [None, TOKENS], [None, WIDTH])


MODELS = {
    one.name: one
    for one in (
        BenchModel("tabular", tabular, "FP32", (FEATURES,), (1,)),
        BenchModel("cnn", cnn, "FP32", (1, PIXELS, PIXELS), (10,)),
        BenchModel("encoder", encoder, "INT64", (TOKENS,), (WIDTH,)),
    )
}


def _layer(number: int, random: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    """Attention and a feed-forward part, each behind its norm (Vaswani et al., 2017; pre-norm)."""
    from onnx import helper

    def name(text: str) -> str:
        return f"{text}{number}"

    nodes, weights = [], {name(w): _normal(random, WIDTH, WIDTH) for w in ("q", "k", "v", "o")}
    weights |= {name("up"): _normal(random, WIDTH, 4 * WIDTH), name("down"): _normal(random, 4 * WIDTH, WIDTH)}

    def add(kind: str, given: list[str], to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, given, [to], **attributes))
        return to

    normed = add("LayerNormalization", [f"x{number}", "one", "zero"], name("n"))
    heads = {}
    for each, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        flat = add("MatMul", [normed, name(each)], name(f"{each}f"))
        heads[each] = add(
            "Transpose", [add("Reshape", [flat, "split"], name(f"{each}s"))], name(f"{each}h"), perm=order
        )
    scores = add("Mul", [add("MatMul", [heads["q"], heads["k"]], name("qk")), "scale"], name("s"))
    mixed = add("MatMul", [add("Softmax", [scores], name("p"), axis=-1), heads["v"]], name("m"))
    joined = add("Reshape", [add("Transpose", [mixed], name("mt"), perm=[0, 2, 1, 3]), "join"], name("j"))
    middle = add("Add", [f"x{number}", add("MatMul", [joined, name("o")], name("ao"))], name("y"))
    again = add("LayerNormalization", [middle, "one", "zero"], name("n2"))
    wide = add("Relu", [add("MatMul", [again, name("up")], name("w"))], name("r"))
    add("Add", [middle, add("MatMul", [wide, name("down")], name("z"))], f"x{number + 1}")
    return nodes, weights


def _normal(random: np.random.Generator, *shape: int) -> Any:
    return (random.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def _model(nodes: list[Any], weights: dict[str, Any], kind: str, given: list[Any], gives: list[Any]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("input", getattr(TensorProto, kind), given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid(*one) for one in OPSETS]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content
