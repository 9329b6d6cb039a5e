"""How a browser gets in: a one-use link made by somebody who has a token, exchanged for a session cookie."""

from starlette.responses import RedirectResponse, Response

from sill.api.dispatch import SESSION_COOKIE, count_wrong
from sill.api.login_links import LINK_S
from sill.api.routing import PUBLIC, Call, Routes
from sill.api.types import LoginLink
from sill.core.errors import Unauthenticated
from sill.core.values import Value
from sill.governance.types import TokenSpec

ROUTES = Routes(tag="login")
PAGES = Routes(tag="login", prefix="")

SESSION_S = 12 * 3600


class LoginQuery(Value, frozen=True, kw_only=True):
    """The code of a login link."""

    code: str


@ROUTES.post("/login-links", scope="projects:read", returns=LoginLink, status=201)
async def create_login_link(call: Call) -> LoginLink:
    """Make a one-use link that logs a browser in as the caller."""
    spec = TokenSpec(
        name="console session",
        scopes=tuple(sorted(call.actor.scopes)),
        projects=tuple(sorted(call.actor.projects)),
        seconds=SESSION_S,
    )
    session = await call.services.governance.create_session(call.actor, spec)
    code = call.services.login_links.add(session.secret, call.services.clock.now_us())
    return LoginLink(url=f"{call.services.settings.url}/login?code={code}", seconds=LINK_S)


@PAGES.get("/login", scope=PUBLIC, query=LoginQuery, returns=Response)
async def log_in(call: Call) -> Response:
    """Exchange a login link's code for a session cookie."""
    try:
        session = call.services.login_links.use(call.query.code, call.services.clock.now_us())
    except Unauthenticated:
        count_wrong(call.request, call.services)
        raise
    answer = RedirectResponse("/", status_code=303)
    is_secure = call.services.settings.url.startswith("https://")
    answer.set_cookie(SESSION_COOKIE, session, max_age=SESSION_S, httponly=True, samesite="strict", secure=is_secure)
    return answer


@ROUTES.post("/logout", scope="projects:read", returns=Response)
async def log_out(call: Call) -> Response:
    """End the browser's session."""
    await call.services.governance.end_session(call.actor)
    answer = Response(status_code=204)
    answer.delete_cookie(SESSION_COOKIE)
    return answer
