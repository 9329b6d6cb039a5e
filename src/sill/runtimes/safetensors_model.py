"""A safetensors file that says which registered class makes a model of it, behind the port, in a process of its own.

What it must say lies in the file's own metadata: `sill.class`, the class's name in the entry point group
`sill.model_class`; `sill.signature`; and `sill.config`, if the class wants arguments.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.plugins import find
from sill.runtimes.drivers import Held, loaded, read_model
from sill.runtimes.fitting import fit, named
from sill.runtimes.types import Signature
from sill.runtimes.weights import build
from sill.safety.formats import Source, check_safetensors
from sill.safety.strict_json import decode

MODEL_FILE = "model.safetensors"
CLASS_KEY, SIGNATURE_KEY, CONFIG_KEY = "sill.class", "sill.signature", "sill.config"
PORT = "model_class"


class Described(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    kind: str
    signature: Signature
    config: dict[str, Any]


def read_description(file: Source) -> Described:
    """What a file says of itself; errors as `described`, and those of a file that is not sound."""
    return described(check_safetensors(file).metadata)


class SafetensorsModel(Held):
    """One model made of one file's tensors."""

    model_file = MODEL_FILE
    look = staticmethod(read_description)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        data = read_model(bundle, MODEL_FILE)
        said = read_description(data)
        self._model = build(find(PORT, said.kind), said.config, data, said.signature)
        self._signature, self._size_bytes = said.signature, len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        answer, signature = loaded(self._model), self.signature()
        return named(signature, answer(fit(signature.inputs, inputs)))


def described(metadata: Mapping[str, str]) -> Described:
    """What a file's metadata says.

    Raises:
        InvalidValue: it names no class, or a signature or arguments that cannot be read.
    """
    kind = metadata.get(CLASS_KEY, "")
    if not kind.replace("-", "_").isidentifier() or SIGNATURE_KEY not in metadata:
        raise InvalidValue(
            f"the file's metadata has {shorten(', '.join(sorted(metadata)) or 'nothing')}; {CLASS_KEY} and "
            f"{SIGNATURE_KEY} are needed.",
            fix="Save it with metadata={'sill.class': NAME, 'sill.signature': JSON}.",
            field="model",
        )
    return Described(
        kind=kind,
        signature=decode(metadata[SIGNATURE_KEY].encode(), Signature),
        config=decode(metadata.get(CONFIG_KEY, "{}").encode(), dict[str, Any]),
    )
