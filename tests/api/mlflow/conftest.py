"""A run, an experiment and a model of the live platform for the tests of MLflow's door."""

from dataclasses import dataclass

import httpx
import pytest

from sill.testing.live import PROJECT, Live

HEADERS = {"x-mlflow-workspace": PROJECT}


@dataclass(frozen=True)
class Door:
    """The door of the live platform as one person sees it, in the project of the tests."""

    http: httpx.Client

    def post(self, path: str, **body: object) -> httpx.Response:
        """Send a message; a version in front of the path if it is not 2.0."""
        return self.http.post(_address(path), json=body, headers=HEADERS)

    def get(self, path: str, **query: object) -> httpx.Response:
        """Ask."""
        return self.http.get(_address(path), params=query, headers=HEADERS)

    def ok(self, answer: httpx.Response) -> dict:
        """What a request that must be taken is answered."""
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, **fields: object) -> str:
        """The id of a new run."""
        made = self.ok(self.post("runs/create", **({"experiment_id": "0"} | fields)))
        return made["run"]["info"]["run_id"]


@pytest.fixture(scope="session")
def door(root: httpx.Client) -> Door:
    return Door(root)


@pytest.fixture(scope="session")
def external_run(door: Door) -> str:
    """A run for requests that are refused."""
    return door.run(run_name="for refusals")


def refused(answer: httpx.Response, code: str, status: int = 400, text: str = "") -> None:
    """The answer is MLflow's error."""
    assert (answer.status_code, answer.json().get("error_code")) == (status, code), answer.text
    assert set(answer.json()) == {"error_code", "message"}
    assert answer.headers["content-type"] == "application/json"
    assert text in answer.json()["message"], answer.text


@pytest.fixture(scope="session")
def live_run(live: Live) -> str:
    return live.run_id


def _address(path: str) -> str:
    return path if path.startswith("/") else f"/api/2.0/mlflow/{path}"
