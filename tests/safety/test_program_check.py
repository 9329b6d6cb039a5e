"""Programs are looked at before they are loaded: what a SavedModel computes, what a JAX export calls."""

import io
import struct

import pytest

from sill.core.errors import InvalidValue
from sill.safety.program_check import check_calls, check_jax_export, check_saved_model


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer; the content is short."""
    return bytes([number << 3 | 2, len(content)]) + content


def saved_model(*operations: str, inside_function: bool = False) -> io.BytesIO:
    """A SavedModel with a node of each operation, in the graph or in a function `f`."""
    nodes = [field(1, b"n") + field(2, operation.encode()) for operation in operations]
    if inside_function:
        made = field(1, field(1, b"f")) + b"".join(field(3, node) for node in nodes)
        graph = field(2, field(1, made))
    else:
        graph = b"".join(field(1, node) for node in nodes)
    return io.BytesIO(field(2, field(2, graph)))


@pytest.mark.parametrize("inside_function", [False, True])
def test_a_saved_model_may_have_the_listed_operations_only(inside_function: bool) -> None:
    check_saved_model(saved_model("Const", "MatMul", "Softmax", inside_function=inside_function))

    for operation in ("ReadFile", "EagerPyFunc", "PyFunc", "LoadLibrary", "IteratorGetNext", "DebugIdentity"):
        with pytest.raises(InvalidValue, match=operation):
            check_saved_model(saved_model("Const", operation, inside_function=inside_function))


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_saved_model_that_is_cut_short_is_refused(cut: int) -> None:
    whole = saved_model("Const").read()

    with pytest.raises(InvalidValue):
        check_saved_model(io.BytesIO(whole[:-cut]))


def test_a_call_out_of_a_jax_program_must_be_on_the_list() -> None:
    check_calls("%1 = stablehlo.custom_call @lapack_sgetrf_ffi(%0) : tensor<1xf32>")

    for name in ("xla_ffi_python_cpu_callback", "xla_python_cpu_callback", "anything"):
        with pytest.raises(InvalidValue, match=name):
            check_calls(f"%1 = stablehlo.custom_call @{name}(%0)")
        with pytest.raises(InvalidValue, match=name):
            check_calls(f'%1 = "stablehlo.custom_call"(%0) {{call_target_name = "{name}"}}')


@pytest.mark.parametrize("content", [b"", b"\x10\x00\x00\x00", bytes(64), struct.pack("<I", 2**31) + bytes(64)])
def test_what_is_no_jax_export_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidValue):
        check_jax_export(io.BytesIO(content))
