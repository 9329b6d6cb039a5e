"""Experiments, logged models and how long what was deleted is kept, from Python."""

from urllib.parse import quote

from sill.runs.experiments.types import Experiment, ExperimentChange, ExperimentDeleted, ExperimentSpec
from sill.runs.logged_models.types import DatasetSummary, LoggedModel, WireModel
from sill.runs.retention.types import RetentionPolicy, RetentionSpec
from sill.runs.types import View
from sill.sdk.client import Client
from sill.sdk.pages import Page

_EXPERIMENTS = "/projects/{project}/experiments"
_MODELS = "/projects/{project}/logged-models"
_RETENTION = "/projects/{project}/retention"


class Experiments:
    """Calls about experiments."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def search(
        self,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        *,
        view: View = View.ACTIVE,
        limit: int = 100,
        after: str = "",
    ) -> Page[Experiment]:
        """Experiments that meet a filter such as `name LIKE 'tuning%' and tags.team = 'x'`, the newest first."""
        given = {"filter": filter, "order_by": ",".join(order_by), "after": after}
        query = {"view": view.value, "limit": limit, **{name: text for name, text in given.items() if text}}
        return self._client.call("GET", _EXPERIMENTS, Page[Experiment], query=query)

    def create(self, spec: ExperimentSpec, key: str = "") -> Experiment:
        """Make an experiment."""
        return self._client.call("POST", _EXPERIMENTS, Experiment, body=spec, key=key)

    def get(self, experiment_id: str) -> Experiment:
        """One experiment."""
        return self._client.call("GET", _path(experiment_id), Experiment)

    def change(self, experiment_id: str, change: ExperimentChange) -> Experiment:
        """Rename an experiment, set tags and take tags away."""
        return self._client.call("POST", _path(experiment_id, "change"), Experiment, body=change)

    def delete(self, experiment_id: str, *, now: bool = False) -> ExperimentDeleted:
        """Delete an experiment with its runs; `now` erases them at once."""
        return self._client.call("DELETE", _path(experiment_id), ExperimentDeleted, query={"now": str(now).lower()})

    def restore(self, experiment_id: str) -> Experiment:
        """Bring a deleted experiment back, with its runs."""
        return self._client.call("POST", _path(experiment_id, "restore"), Experiment)

    def datasets(self, experiment_id: str) -> tuple[DatasetSummary, ...]:
        """Datasets that its runs read."""
        return self._client.call("GET", _path(experiment_id, "datasets"), tuple[DatasetSummary, ...])

    def logged_models(
        self, experiment_id: str, filter: str = "", *, limit: int = 100, after: str = ""
    ) -> Page[LoggedModel]:
        """Models that were logged in an experiment, the newest first."""
        given = {"filter": filter, "after": after}
        query = {"experiment_id": experiment_id, "limit": limit, **{name: text for name, text in given.items() if text}}
        page: Page[WireModel] = self._client.call("GET", _MODELS, Page[WireModel], query=query)
        return Page(items=tuple(found.whole() for found in page.items), next=page.next)

    def logged_model(self, model_id: str) -> LoggedModel:
        """One logged model."""
        return self._client.call("GET", f"{_MODELS}/{quote(model_id, safe='')}", WireModel).whole()

    def delete_logged_model(self, model_id: str) -> LoggedModel:
        """Delete a logged model."""
        return self._client.call("DELETE", f"{_MODELS}/{quote(model_id, safe='')}", WireModel).whole()

    def restore_logged_model(self, model_id: str) -> LoggedModel:
        """Bring a deleted logged model back."""
        return self._client.call("POST", f"{_MODELS}/{quote(model_id, safe='')}/restore", WireModel).whole()

    def retention(self) -> RetentionPolicy:
        """How long what was deleted can be restored."""
        return self._client.call("GET", _RETENTION, RetentionPolicy)

    def set_retention(self, days: float) -> RetentionPolicy:
        """Say how long what was deleted can be restored."""
        return self._client.call("PUT", _RETENTION, RetentionPolicy, body=RetentionSpec(days=days))


def _path(experiment_id: str, rest: str = "") -> str:
    return f"{_EXPERIMENTS}/{quote(experiment_id, safe='')}" + (f"/{rest}" if rest else "")
