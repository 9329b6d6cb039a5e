"""Registered models, versions, gates. A model here is always a trained one."""

from enum import StrEnum

from sill.core.values import Value
from sill.runs.training.types import Evaluation, GateSpec
from sill.runtimes.types import Signature

MANIFEST_FILE = "manifest.json"
"""The signed list of a bundle's files; made by the registry."""


class Check(Value, frozen=True, kw_only=True):
    """One check of a gate, with what was seen and what was required."""

    name: str
    passed: bool
    observed: str
    required: str


class GateReport(Value, frozen=True, kw_only=True):
    """The gate's verdict and every check behind it."""

    passed: bool
    checks: tuple[Check, ...]
    reason: str
    at_us: int = 0


class VersionState(StrEnum):
    """registered → (awaiting approval) → accepted | rejected; accepted versions may serve."""

    REGISTERED = "registered"
    AWAITING_APPROVAL = "awaiting_approval"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class VersionSpec(Value, frozen=True, kw_only=True):
    """A version to register. The files were uploaded before; `files` maps path in the bundle → blob digest."""

    model: str
    files: dict[str, str]
    signature: Signature
    evaluation: Evaluation
    gate: GateSpec = GateSpec()
    run_id: str = ""
    inputs: tuple[str, ...] = ()
    params: dict[str, str] = {}
    note: str = ""


class ModelVersion(Value, frozen=True, kw_only=True):
    """One version of a registered model. Its files never change; the manifest is signed."""

    id: str
    """`MODEL/VERSION`."""
    project: str
    model: str
    version: int
    spec: VersionSpec
    state: VersionState
    manifest: str
    """Blob digest of the signed manifest."""
    gate_report: GateReport | None = None
    created_us: int = 0
    actor: str = ""
    revision: int = 0


class RegisteredModel(Value, frozen=True, kw_only=True):
    """A model's name, its newest version, and its aliases (name → version). `champion` is the one that serves."""

    project: str
    name: str
    latest: int = 0
    aliases: dict[str, int] = {}
    note: str = ""
    created_us: int = 0
    revision: int = 0


class AliasChange(Value, frozen=True, kw_only=True):
    """Move an alias. `expected` is the version it points to now (0: not set); a mismatch is a conflict."""

    version: int
    expected: int | None = None


class Approval(Value, frozen=True, kw_only=True):
    """A person's word on a version that awaits it."""

    approved: bool
    reason: str = ""


class Freed(Value, frozen=True, kw_only=True):
    """What a deletion freed: blobs that nothing else used, and their bytes."""

    blobs: int
    size_bytes: int


class ModelCard(Value, frozen=True, kw_only=True):
    """A model card, Markdown."""

    text: str
