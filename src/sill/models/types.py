"""Registered models, versions, gates. A model here is always a trained one, or a prompt that a client keeps as one."""

from enum import StrEnum

from sill.core.values import Value
from sill.runs.training.types import Evaluation, GateSpec
from sill.runtimes.types import Inspection, Signature

MANIFEST_FILE = "manifest.json"
"""The signed list of a bundle's files; made by the registry."""
MODEL_FILE = "model.onnx"
"""The file of a bundle that is loaded."""
PROMPT_TAG = "mlflow.prompt.is_prompt"
"""By this tag MLflow's clients mark a registered model that is a prompt."""
PROMPT_TEXT_TAG = "mlflow.prompt.text"
"""The tag in which a prompt's version keeps its text."""


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
    """registered → (awaiting approval) → accepted | rejected; accepted versions may serve.

    A tracked version was registered with an address only, by an MLflow client: no gate judges it. It may serve once it
    was promoted, which makes a signed bundle of its file.
    """

    REGISTERED = "registered"
    AWAITING_APPROVAL = "awaiting_approval"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TRACKED = "tracked"


class Stage(StrEnum):
    """Where a version stands in MLflow's older scheme; aliases are the newer one."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class VersionSpec(Value, frozen=True, kw_only=True):
    """A version to register. The files were uploaded before; `files` maps path in the bundle → blob digest.

    `runtime` names what makes the model answer, such as `onnx` or `xgboost`.
    """

    model: str
    files: dict[str, str]
    signature: Signature
    evaluation: Evaluation
    gate: GateSpec = GateSpec()
    run_id: str = ""
    inputs: tuple[str, ...] = ()
    params: dict[str, str] = {}
    note: str = ""
    runtime: str = "onnx"


class BundleFiles(Value, frozen=True, kw_only=True):
    """Uploaded files to look at: path → blob digest; without a `runtime`, the one that takes them is found."""

    files: dict[str, str]
    runtime: str = ""


class Inspected(Value, frozen=True, kw_only=True):
    """What uploaded files are: the runtime that takes them, their paths in a bundle, and what the model says of itself."""

    runtime: str
    files: dict[str, str]
    size_bytes: int
    inspection: Inspection


class TrackedSpec(Value, frozen=True, kw_only=True):
    """A version to register by the address of its files.

    Attributes:
        source: `runs:/RUN/PATH`, `models:/NAME/VERSION`, `mlflow-artifacts:/PATH` or another store's address.
        run_id: the run that made it, in the client's words; it need not be one of ours.
        model_id: the logged model it was, if any.
    """

    model: str
    source: str
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    note: str = ""
    tags: dict[str, str] = {}


class Loadability(Value, frozen=True, kw_only=True):
    """Whether the platform itself may ever load a tracked version's files, and why not.

    Attributes:
        flavors: as its `MLmodel` file lists them.
        path: the file that may be promoted, relative to the source; empty without one.
        runtime: what loads that file.
        is_folder: with all that lies beside it and below.
    """

    is_loadable: bool
    reason: str = ""
    flavors: tuple[str, ...] = ()
    path: str = ""
    runtime: str = ""
    is_folder: bool = False


class ModelVersion(Value, frozen=True, kw_only=True):
    """One version of a registered model. Its files never change; the manifest is signed.

    Attributes:
        source: where a tracked version says its files are; empty for one that passed the gate.
        storage: the same with `models:/` addresses followed to their end.
        note: what people say of it now; what its maker said is in `spec.note`.
        loadable: False for what would have to be unpickled, or is not here; it is stored and never loaded.
        changed_us: when its note or stage changed last.
    """

    id: str
    """`MODEL/VERSION`."""
    project: str
    model: str
    version: int
    spec: VersionSpec
    state: VersionState
    manifest: str
    """Blob digest of the signed manifest; empty for a tracked version that was not promoted."""
    gate_report: GateReport | None = None
    created_us: int = 0
    actor: str = ""
    source: str = ""
    storage: str = ""
    run_link: str = ""
    model_id: str = ""
    note: str = ""
    tags: dict[str, str] = {}
    stage: Stage = Stage.NONE
    loadable: bool = True
    loadable_reason: str = ""
    flavors: tuple[str, ...] = ()
    changed_us: int = 0
    revision: int = 0

    @property
    def is_tracked(self) -> bool:
        """True if it was registered by an address only."""
        return self.state is VersionState.TRACKED

    @property
    def may_serve(self) -> bool:
        """True if its gate accepted it, or if it is tracked and was promoted."""
        return self.state is VersionState.ACCEPTED or (self.is_tracked and bool(self.manifest))

    @property
    def address(self) -> str:
        """Where an MLflow client can download its files from."""
        if self.is_tracked:
            return self.storage or self.source
        return f"mlflow-artifacts:/models/{self.model}/{self.version}"


class RegisteredModel(Value, frozen=True, kw_only=True):
    """A model's name, its newest version, and its aliases (name → version). `champion` is the one that serves.

    `note` is what people say of it (MLflow's description); `changed_us` when it, or which versions it has, changed last.
    """

    project: str
    name: str
    latest: int = 0
    aliases: dict[str, int] = {}
    note: str = ""
    created_us: int = 0
    tags: dict[str, str] = {}
    changed_us: int = 0
    revision: int = 0

    @property
    def is_prompt(self) -> bool:
        """True if a client keeps a prompt under this name."""
        return self.tags.get(PROMPT_TAG, "").lower() == "true"


class ModelSummary(Value, frozen=True, kw_only=True):
    """A registered model with the newest version of each stage."""

    model: RegisteredModel
    latest: tuple[ModelVersion, ...] = ()


class NamedVersion(Value, frozen=True, kw_only=True):
    """A version with the aliases that point to it."""

    version: ModelVersion
    aliases: tuple[str, ...] = ()


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
