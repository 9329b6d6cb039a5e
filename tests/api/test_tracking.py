"""A tenant's file is saved by a browser, never shown."""

import pytest

from sill.api.tracking import download_headers


@pytest.mark.parametrize("name", ["page.html", 'a"b\r\nX: y.svg', "ü.js", "x;y"])
def test_a_download_is_an_attachment_in_a_sandbox_and_its_name_cannot_add_a_header(name: str) -> None:
    headers = download_headers(f"folder/{name}", 3)

    assert headers["Content-Disposition"].startswith("attachment; filename=")
    assert headers["Content-Disposition"].isprintable()
    assert headers["Content-Disposition"].isascii()
    assert headers["Content-Disposition"].count('"') == 2
    assert headers["Content-Security-Policy"].startswith("sandbox")
