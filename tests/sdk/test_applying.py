"""What `apply` sends: the project first, its code, its files and folders, then the declaration."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from sill.core.errors import InvalidValue, NotFound
from sill.sdk import applying
from sill.sdk.applying import apply, local_places
from sill.sdk.client import Client

PROJECT = """
import sill

pets = sill.Project("pets", note="cats and dogs")
images = pets.table("images", key="name")
pets.ingest(images, sill.read("images", format="images"), name="images")
pets.ingest("owners", sill.read("owners*.csv"), name="owners")
view = pets.features("all", entity="name", source=images)

@pets.train(data=view, label="label")
def fit(data, params, run):
    return None
"""


@dataclass
class Server:
    """Takes note of what is sent to it."""

    has_project: bool = False
    calls: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/")
        name = f"{request.method} {path}" + (f" {request.url.params['name']}" if "name" in request.url.params else "")
        self.calls.append(name)
        self.bodies[name] = request.read()
        if name == "GET projects/pets" and not self.has_project:
            return httpx.Response(404, json={"code": "not_found", "message": "no project.", "status": 404})
        if path.endswith("/apply"):
            return httpx.Response(200, json={"project": "pets", "changes": []})
        if "uploads" in path:
            file = request.url.params["name"]
            url = f"upload://{'0' * 64}/{file}"
            return httpx.Response(200, json={"digest": "0" * 64, "name": file, "size_bytes": 1, "url": url})
        if path.endswith("/code"):
            return httpx.Response(200, json={"digest": "c" * 64, "size_bytes": 1, "files": 1})
        return httpx.Response(200, json={"project": "pets"})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(url="http://testserver", token="t", http=httpx.Client(transport=httpx.MockTransport(server.answer)))
    yield client
    client.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project.py").write_text(PROJECT)
    for name in ("images/cats/a.png", "images/dogs/a.png", "images/.hidden", "owners1.csv", "owners2.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


def test_the_project_comes_first_and_the_declaration_last(server: Server, client: Client, folder: Path) -> None:
    apply(client, folder / "project.py")

    assert server.calls == [
        "GET projects/pets",
        "POST projects",
        "POST projects/pets/code",
        "POST projects/pets/uploads images.zip",
        "POST projects/pets/uploads owners1.csv",
        "POST projects/pets/uploads owners2.csv",
        "POST projects/pets/apply",
    ]
    sent = json.loads(server.bodies["POST projects/pets/apply"])
    assert [len(each["sources"]) for each in sent["ingestions"]] == [1, 2]
    assert sent["trainings"][0]["code"] == "c" * 64


def test_a_project_that_is_there_is_not_made_again(server: Server, client: Client, folder: Path) -> None:
    server.has_project = True
    apply(client, folder / "project.py")

    assert "POST projects" not in server.calls


def test_a_folder_is_sent_as_one_archive_without_what_is_hidden(server: Server, client: Client, folder: Path) -> None:
    apply(client, folder / "project.py")
    archive = zipfile.ZipFile(io.BytesIO(server.bodies["POST projects/pets/uploads images.zip"]))

    assert archive.namelist() == ["cats/a.png", "dogs/a.png"]


def test_a_path_that_matches_nothing_or_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"no file matches 'gone.csv'"):
        local_places(folder, "gone.csv")
    monkeypatch.setattr(applying, "UPLOADS_MAX", 1)
    with pytest.raises(InvalidValue, match="names 2 files; 1 are allowed"):
        local_places(folder, "owners*.csv")


def test_a_folder_without_files_is_refused(client: Client, folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no file"):
        applying.upload_place(client, "pets", folder / "empty")
