"""Weights as safetensors keeps them, given to a class that makes a model of them: a PyTorch module, or any class.

The class is one that somebody installed beside Sill and registered in the entry point group `sill.model_class`, or code of
a Python bundle (`python_callable`). A file never brings code of its own, and nothing in it is unpickled.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.runtimes.drivers import cannot_load, library
from sill.runtimes.types import Signature

Answer = Callable[[Mapping[str, Any]], Any]
"""Named arrays in; named arrays out, or of a model of one output that alone."""


def build(kind: Any, config: Mapping[str, Any], data: bytes, signature: Signature) -> Answer:
    """What answers: the class, made with `config` and a file's tensors.

    A PyTorch module is made with `config` alone and gets the tensors as its state; its `forward` is called with the
    inputs by their names. Any other class is made with a mapping of names to arrays first, and then `config`; it has
    `infer`, or is called itself.

    Raises:
        Refused: the class and the tensors do not go together.
    """
    torch = sys.modules.get("torch")  # whoever defines a module has imported it
    try:
        if torch is not None and isinstance(kind, type) and issubclass(kind, torch.nn.Module):
            return _module(torch, kind, config, data, signature)
        made = kind(library("safetensors.numpy", "safetensors").load(data), **config)
    except Refused:
        raise
    except Exception as broken:  # the class raises whatever it likes
        raise cannot_load(getattr(kind, "__name__", "the class"), broken, "Save the weights it asks for.") from broken
    answer: Answer = getattr(made, "infer", made)
    return answer


def _module(torch: Any, kind: Any, config: Mapping[str, Any], data: bytes, signature: Signature) -> Answer:
    torch.set_num_threads(1)
    module = kind(**config)
    module.load_state_dict(library("safetensors.torch", "safetensors").load(data))
    module.eval()
    names = [spec.name for spec in signature.outputs]

    def answer(inputs: Mapping[str, Any]) -> dict[str, Any]:
        with torch.inference_mode():
            made = module(**{name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
        if isinstance(made, torch.Tensor):
            made = (made,)
        given = made if isinstance(made, Mapping) else dict(zip(names, made, strict=True))
        return {name: tensor.numpy() for name, tensor in given.items()}

    return answer


ACTIVATIONS = ("relu", "tanh", "sigmoid")


class Mlp:
    """Linear layers one after another, in NumPy: the class `mlp`. Tensors are named as `torch.nn.Sequential` does.

    Args:
        tensors: `N.weight` [out, in] and `N.bias` [out], in the order of N.
        activation: between the layers.
        softmax: whether the last layer's sums become probabilities.
    """

    def __init__(self, tensors: Mapping[str, Any], activation: str = "relu", softmax: bool = False) -> None:
        places = sorted(int(name.removesuffix(".weight")) for name in tensors if name.endswith(".weight"))
        if not places or activation not in ACTIVATIONS or len(tensors) != 2 * len(places):
            raise InvalidValue(
                f"{shorten(', '.join(sorted(tensors)))} with {shorten(activation)!r} are no layers.",
                fix=f"Save N.weight and N.bias of each; activation is one of {', '.join(ACTIVATIONS)}.",
            )
        self._layers = [(tensors[f"{place}.weight"].T, tensors[f"{place}.bias"]) for place in places]
        self._activation = activation
        self._softmax = softmax

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """One input, rows of numbers; `output` has the last layer's."""
        import numpy as np

        (x,) = inputs.values()
        for number, (weight, bias) in enumerate(self._layers):
            x = x @ weight + bias
            if number < len(self._layers) - 1:
                x = _activated(np, x, self._activation)
        if self._softmax:
            x = np.exp(x - x.max(axis=1, keepdims=True))
            x = x / x.sum(axis=1, keepdims=True)
        return {"output": x}


def _activated(np: Any, x: Any, name: str) -> Any:
    if name == "relu":
        return np.maximum(x, 0)
    return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))
