"""The console's pages: a fixed list of files that ship with the package, read once. No path of a client opens a file."""

from importlib.resources import files

from starlette.responses import Response

from sill.api.routing import PUBLIC, Call, Routes
from sill.core.errors import NotFound
from sill.core.names import shorten

ROUTES = Routes(tag="console", prefix="")

_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGES = {
    file.name: (file.read_bytes(), _TYPES["." + file.name.rpartition(".")[2]])
    for file in files("sill.console").joinpath("static").iterdir()
    if "." + file.name.rpartition(".")[2] in _TYPES
}


@ROUTES.get("/", scope=PUBLIC, returns=Response)
async def get_console(call: Call) -> Response:
    """The console's overview page; it shows nothing until the browser has logged in."""
    return _page("index.html")


@ROUTES.get("/static/{name}", scope=PUBLIC, returns=Response)
async def get_static(call: Call) -> Response:
    """One of the console's files."""
    return _page(call.path["name"])


def _page(name: str) -> Response:
    if name not in _PAGES:
        raise NotFound(f"the console has no file {shorten(name)!r}.")
    content, media_type = _PAGES[name]
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})
