"""Scopes and roles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.governance.rules import (
    INFERENCE_SCOPES,
    JOB_SCOPES,
    RESOURCES,
    ROLES,
    VERBS,
    check_grant,
    check_scope,
    check_secret_name,
    require,
    scopes_of,
)

SCOPES = [f"{resource}:{verb}" for resource in RESOURCES for verb in VERBS]
ALL_SCOPES = st.sets(st.sampled_from([*SCOPES, *(f"{resource}:*" for resource in RESOURCES), "*"]))


def actor(*scopes: str, projects: tuple[str, ...] = ("*",)) -> Actor:
    return Actor(id="tok-1", scopes=frozenset(scopes), projects=frozenset(projects))


def test_another_tenants_project_is_not_found_whatever_the_scope() -> None:
    for scopes in ((), ("*",)):
        with pytest.raises(NotFound):
            require(actor(*scopes, projects=("mine",)), "runs:read", "theirs")


def test_a_missing_scope_is_forbidden() -> None:
    require(actor("runs:read", projects=("mine",)), "runs:read", "mine")
    with pytest.raises(Forbidden, match="runs:write"):
        require(actor("runs:read", projects=("mine",)), "runs:write", "mine")


def test_each_role_can_do_what_the_one_before_can() -> None:
    roles = [actor(*ROLES[name]) for name in ("reader", "developer", "operator", "admin")]
    for scope in SCOPES:
        able = [role.has(scope) for role in roles]
        assert able == sorted(able)


def test_only_admins_make_tokens_and_readers_change_nothing() -> None:
    assert [name for name, scopes in ROLES.items() if actor(*scopes).has("tokens:write")] == ["admin"]
    assert all(scope.endswith(":read") for scope in ROLES["reader"])


def test_every_bundle_names_scopes_that_exist() -> None:
    for scope in {*JOB_SCOPES, *INFERENCE_SCOPES}.union(*ROLES.values()):
        assert check_scope(scope) == scope


@pytest.mark.parametrize("scope", ["", "runs", "runs:", ":read", "runs:delete", "nobody:read", "*:read", "runs:read "])
def test_an_unknown_scope_is_refused(scope: str) -> None:
    with pytest.raises(InvalidValue):
        check_scope(scope)


@given(ALL_SCOPES, ALL_SCOPES, st.sampled_from(SCOPES))
def test_nobody_grants_what_he_lacks(own: set[str], given_away: set[str], scope: str) -> None:
    giver, taker = actor(*own), actor(*given_away)
    try:
        check_grant(giver, taker.scopes, frozenset({"*"}))
    except Forbidden:
        return
    assert giver.has(scope) or not taker.has(scope)


def test_nobody_grants_a_project_he_lacks() -> None:
    for project in ("theirs", "*"):
        with pytest.raises(Forbidden):
            check_grant(actor("*", projects=("mine",)), frozenset({"runs:read"}), frozenset({project}))
    check_grant(PLATFORM, frozenset({"*"}), frozenset({"*"}))


@pytest.mark.parametrize(("scopes", "role"), [((), ""), (("runs:read",), "reader"), ((), "king"), (("x:y",), "")])
def test_a_token_has_either_a_known_role_or_known_scopes(scopes: tuple[str, ...], role: str) -> None:
    with pytest.raises(InvalidValue):
        scopes_of(scopes, role)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "x" * 101, "_x", "a\n"])
def test_a_secret_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_secret_name(name)
