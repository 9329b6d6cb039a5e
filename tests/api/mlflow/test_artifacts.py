"""The artifact proxy: whole files, ranges, parts; saved and never shown; no way out of the project (SECURITY B26, B30)."""

import os

import httpx
import pytest

from sill.testing.live import PROJECT

from .conftest import HEADERS, Door, refused

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
BYTES = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def folder(door: Door) -> str:
    """Where a run's artifacts lie at the proxy."""
    return f"{PROXY}/0/{door.run(run_name='artifacts')}/artifacts"


def put(door: Door, path: str, content: bytes) -> httpx.Response:
    return door.http.put(path, content=content, headers=HEADERS)


def get(door: Door, path: str, **headers: str) -> httpx.Response:
    return door.http.get(path, headers=HEADERS | headers)


def test_a_file_comes_back_as_it_was_and_is_listed(door: Door, folder: str) -> None:
    assert put(door, f"{folder}/a/b.bin", BYTES).json() == {}

    answer = get(door, f"{folder}/a/b.bin")
    listed = door.ok(door.http.get(PROXY, params={"path": folder.removeprefix(f"{PROXY}/")}, headers=HEADERS))
    assert (answer.status_code, answer.content) == (200, BYTES)
    assert listed == {"files": [{"path": "a", "is_dir": True}]}


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=1000-", 206, 1000, 1024),
        ("bytes=-24", 206, 1000, 1024),
        ("bytes=1000-9999", 206, 1000, 1024),
        ("bytes=0-1,4-5", 200, 0, 1024),
    ],
)
def test_a_range_is_that_part(door: Door, folder: str, asked: str, status: int, start: int, end: int) -> None:
    put(door, f"{folder}/ranged", BYTES)
    answer = get(door, f"{folder}/ranged", Range=asked)

    assert (answer.status_code, answer.content) == (status, BYTES[start:end])
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers.get("content-range", f"bytes {start}-{end - 1}/1024") == f"bytes {start}-{end - 1}/1024"


def test_a_range_behind_the_end_is_refused_and_one_of_another_state_is_the_whole(door: Door, folder: str) -> None:
    put(door, f"{folder}/ranged", BYTES)

    refused(get(door, f"{folder}/ranged", Range="bytes=1024-"), "BAD_REQUEST", text="1024 bytes")
    assert get(door, f"{folder}/ranged", Range="bytes=0-9", **{"If-Range": '"other"'}).content == BYTES


@pytest.mark.parametrize("name", ["page.html", "image.svg", "notebook.ipynb", "run.js", 'a"b.html', "ü.html"])
def test_bytes_are_saved_and_never_shown(door: Door, folder: str, name: str) -> None:
    put(door, f"{folder}/{name}", b"<script>alert(1)</script>")
    run_id = folder.split("/")[-2]
    answers = (
        get(door, f"{folder}/{name}"),
        door.http.get("/get-artifact", params={"run_id": run_id, "path": name}, headers=HEADERS),
    )

    for answer in answers:
        assert answer.headers["content-disposition"].startswith("attachment; filename")
        assert answer.headers["content-security-policy"].startswith("sandbox")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "%2e%2e/%2e%2e/db",
            "%2e%2e/x",
            "..%252f..%252fetc",
            "a/..%2f..%2fb",
            "..%5c..",
            "a%00",
            "a/%2e/b",
            "a//b",
            "%2fetc",
        ),
        *("a%5cb", "a%0ab"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_path_leads_out(door: Door, folder: str, method: str, path: str) -> None:
    request = door.http.build_request(method, "/", headers=HEADERS, content=b"x" if method == "PUT" else None)
    request.url = request.url.copy_with(raw_path=f"{folder}/{path}".encode())
    answer = door.http.send(request)

    is_plain_name = path.startswith("..%252f")  # unescaped once it is a name with percent signs, and stays one
    assert answer.status_code in ((200, 404) if is_plain_name else (400, 404)), answer.text


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a\\b", "a\0", "."])
def test_no_listed_folder_leads_out(door: Door, external_run: str, path: str) -> None:
    for where, query in ((PROXY, {}), ("/api/2.0/mlflow/artifacts/list", {"run_id": external_run})):
        answer = door.http.get(where, params={"path": path, **query}, headers=HEADERS)
        refused(answer, "INVALID_PARAMETER_VALUE")


def test_a_large_file_comes_in_parts(door: Door, folder: str) -> None:
    data = os.urandom(3_000)
    where = folder.replace("/artifacts/0", "/mpu/create/0", 1)
    begun = door.ok(door.http.post(where, json={"path": "/home/me/big.bin", "num_parts": 3}, headers=HEADERS))
    parts = []
    for at, credential in enumerate(begun["credentials"]):
        piece = httpx.put(credential["url"], content=data[at * 1_000 : (at + 1) * 1_000], headers=credential["headers"])
        parts.append({"part_number": credential["part_number"], "etag": piece.headers["etag"]})
    body = {"path": "/home/me/big.bin", "upload_id": begun["upload_id"], "parts": parts}
    door.ok(door.http.post(where.replace("/create/", "/complete/"), json=body, headers=HEADERS))

    assert get(door, f"{folder}/big.bin").content == data


def test_an_upload_that_was_never_begun_is_not_there(door: Door, folder: str) -> None:
    where = folder.replace("/artifacts/0", "/mpu/complete/0", 1)
    body = {"path": "x", "upload_id": "up-00000000000000000000", "parts": []}

    refused(door.http.post(where, json=body, headers=HEADERS), "RESOURCE_DOES_NOT_EXIST", 404)
    assert put(door, "/api/2.0/mlflow-artifacts/mpu/part/up-00000000000000000000/1", b"x").status_code == 404


def test_the_files_of_a_version_of_ours_are_read_and_never_written(door: Door) -> None:
    models = door.ok(door.get("registered-models/search"))["registered_models"]
    name = next(
        one["name"] for one in models if one["latest_versions"][0]["source"].startswith("mlflow-artifacts:/models")
    )
    version = door.ok(door.get("model-versions/get", name=name, version="1"))["model_version"]
    where = f"{PROXY}/models/{name}/1"

    assert (version["status"], version["tags"][0]["key"]) == ("READY", "sill.state")
    listed = door.ok(door.http.get(PROXY, params={"path": f"models/{name}/1"}, headers=HEADERS))["files"]
    assert {"MLmodel", "manifest.json", "model.onnx"} <= {one["path"] for one in listed}
    assert b"mlflow.onnx" in get(door, f"{where}/MLmodel").content
    whole = get(door, f"{where}/model.onnx").content
    assert get(door, f"{where}/model.onnx", Range="bytes=3-9").content == whole[3:10]
    refused(put(door, f"{where}/model.onnx", b"x"), "INVALID_PARAMETER_VALUE", text="never change")
    refused(door.http.delete(where, headers=HEADERS), "INVALID_PARAMETER_VALUE", text="never change")


def test_a_stranger_finds_nothing(stranger: httpx.Client, door: Door, folder: str) -> None:
    put(door, f"{folder}/secret", b"x")
    for headers in ({}, {"x-mlflow-workspace": PROJECT}):
        assert stranger.get(f"{folder}/secret", headers=headers).status_code == 404
