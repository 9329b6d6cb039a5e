"""A tenant's file is saved by a browser, never shown."""

import httpx
import pytest

from sill.api.downloads import download_headers


@pytest.mark.parametrize("name", ["page.html", 'a"b\r\nX: y.svg', "ü.js", "x;y"])
def test_a_download_is_an_attachment_in_a_sandbox_and_its_name_cannot_add_a_header(name: str) -> None:
    headers = download_headers(f"folder/{name}", 3)

    assert headers["Content-Disposition"].startswith("attachment; filename=")
    assert headers["Content-Disposition"].isprintable()
    assert headers["Content-Disposition"].isascii()
    assert headers["Content-Disposition"].count('"') in (0, 2)
    assert headers["Content-Security-Policy"].startswith("sandbox")


def test_numbers_that_json_has_no_word_for_are_texts(root: httpx.Client) -> None:
    inline = {"spec": {"name": "odd"}, "state": "finished", "started_us": 1, "ended_us": 2}
    run = root.post("/api/v1/projects/acme/runs/inline", json=inline).raise_for_status().json()["id"]
    points = [
        {"key": "m", "value": value, "step": step} for step, value in enumerate(["NaN", "-Infinity", "Infinity", 1])
    ]
    path = f"/api/v1/projects/acme/runs/{run}"
    root.post(f"{path}/log", json={"metrics": points}).raise_for_status()

    assert [point["value"] for point in root.get(f"{path}/metrics?key=m").json()["items"]] == [
        "NaN",
        "-Infinity",
        "Infinity",
        1,
    ]
    assert root.get(f"{path}/data").json()["metrics"] == {"m": 1}
    assert root.get(f"{path}/series").json()[0]["logged"] == 4
    assert len(root.get(f"{path}/curve?key=m&points=3").json()) == 4  # first, last, least, most
    found = root.post("/api/v1/projects/acme/runs/search", json={"filter": "metrics.m = 1 and run_name = 'odd'"}).json()
    assert [one["run"]["id"] for one in found["items"]] == [run]
    assert root.post(f"{path}/log", json={"metrics": [{"key": "m", "value": "nan"}]}).status_code == 400
