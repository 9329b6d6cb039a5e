"""The console's files name only what there is: each other, routes that answer a GET or POST, and elements of the page."""

import re
from importlib.resources import files

import pytest

from sill.testing.routes import every_route

PAGES = {
    file.name: file.read_text(encoding="utf-8")
    for file in files("sill.console").joinpath("static").iterdir()
    if file.name.endswith((".html", ".js", ".css"))
}
SCRIPTS = sorted(name for name in PAGES if name.endswith(".js"))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_names_only_files_that_ship_with_it(name: str) -> None:
    named = re.findall(r"/static/([a-z.]+)", PAGES[name])
    assert set(named) <= {*PAGES, "sill.svg"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_asks_only_for_routes_that_there_are(name: str) -> None:
    asked = [re.sub(r"\$\{[^}]*\}", "x", path) for path in re.findall(r"\bapi\([\"`]([^\"`]+)", PAGES[name])]
    routes = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", each.path)) for each in every_route()]
    assert [path for path in asked if not any(route.fullmatch("/api/v1" + path) for route in routes)] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_is_never_set_as_html_and_nothing_is_evaluated(name: str) -> None:
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", PAGES[name]) == []
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_looks_for_elements_the_page_has(name: str) -> None:
    looked_for = re.findall(r"getElementById\(\"([a-z-]+)\"\)", PAGES[name])
    assert [each for each in looked_for if f'id="{each}"' not in PAGES["index.html"]] == []


def test_each_view_has_a_link_a_place_and_a_module() -> None:
    for view in ("loop", "queues"):
        assert f'href="#{view}"' in PAGES["index.html"]
        assert f'id="view-{view}"' in PAGES["index.html"]
        assert "export const refresh" in PAGES[f"{view}.js"]
