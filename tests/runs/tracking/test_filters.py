"""Filters and orders are MLflow's: what it takes is taken, what it refuses is refused, and nothing else ever happens."""

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.tracking.fields import RUN_FIELDS
from sill.runs.tracking.filters import Clause, Order, holds, parse_filter, parse_order

PIECES = st.sampled_from(
    [
        *("metrics", "params", "tags", "attributes", "datasets", ".", "loss", "`a b`", '"x"', "'y'", "run_id", "name"),
        *("=", "!=", "<", ">=", "LIKE", "ILIKE", "IN", "NOT", "IS", "NULL", "AND", "OR", "(", ")", ",", ";", "--"),
        *("1", "-0.5", "1e400", "'", '"', "`", " ", "\n", "é", "status", "start_time", "\\'", "%", "DESC"),
    ]
)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("", []),
        ("metric.acc>=100", [("metric", "acc", ">=", 100)]),
        ("metrics.a < -1.5e3", [("metric", "a", "<", -1500.0)]),
        ("params.m!='tf'", [("parameter", "m", "!=", "tf")]),
        ('params."m"!="tf"', [("parameter", "m", "!=", "tf")]),
        ('metrics."X//Y#$$@&Z" = 3', [("metric", "X//Y#$$@&Z", "=", 3)]),
        ("`metric`.a >= 0.1", [("metric", "a", ">=", 0.1)]),
        ("metrics.`spacey name` > 5", [("metric", "spacey name", ">", 5)]),
        ("tags.mlflow.parentRunId = 'run-1'", [("tag", "mlflow.parentRunId", "=", "run-1")]),
        ('params.m = "L\'Hosp"', [("parameter", "m", "=", "L'Hosp")]),
        ("params.m = 'it''s'", [("parameter", "m", "=", "it''s")]),
        ("tags.a is not null AND param.b = ''", [("tag", "a", "IS NOT NULL", None), ("parameter", "b", "=", "")]),
        (
            "params.b ilike '%x_' and Created > 1",
            [("parameter", "b", "ILIKE", "%x_"), ("attribute", "start_time", ">", 1)],
        ),
        ("run_id IN ('a', \"b\",)", [("attribute", "run_id", "IN", ("a", "b"))]),
        ("run.status = 'RUNNING'", [("attribute", "status", "=", "RUNNING")]),
        ("attributes.`Run name` = 'x'", [("attribute", "run_name", "=", "x")]),
        ("datasets.digest NOT IN ('a')", [("dataset", "digest", "NOT IN", ("a",))]),
    ],
)
def test_what_mlflow_takes_is_taken(text: str, clauses: list[Any]) -> None:
    assert parse_filter(text, RUN_FIELDS) == tuple(Clause(*each) for each in clauses)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metric.acc >= 0.94; metrics.rmse < 1", "Search filter contained multiple expression"),
        ("m.acc >= 0.94", "Invalid entity type"),
        ("acc >= 0.94", "Invalid attribute key"),
        ("attri.x != 1", "Invalid entity type"),
        ("foo is null", "Invalid attribute key"),
        ("metrics.A > 0.1 OR params.B = 'LR'", "Invalid clause(s) in filter string"),
        ("metrics.A > 0.1 AND (params.B = 'LR')", "Invalid clause(s) in filter string"),
        ("metrics.A > 0.1 AND", "Invalid clause(s) in filter string"),
        ("`metrics.A > 0.1", "Invalid clause(s) in filter string"),
        ("param`.A > 0.1", "Invalid clause(s) in filter string"),
        ("attribute.lifecycle_stage = 'ACTIVE'", "Invalid attribute key"),
        ("attribute.status = true", "Invalid clause(s) in filter string"),
        ("attribute.status IS 'RUNNING'", "Invalid clause(s) in filter string"),
        ("dataset.profile = 'num_rows: 10'", "Invalid dataset key"),
        ("metrics.acc IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("attribute.status IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
        ("metric.model = '5'", "Expected numeric value type for metric"),
        ("metrics.acc != metrics.acc", "Expected numeric value type for metric"),
        ("params.acc = 5", "Expected a quoted string value for param"),
        ("attribute.status = 1", "Expected a quoted string value for attributes"),
        ("1.0 > metrics.acc", "Expected 'Identifier' found"),
        ("params.acc = LR", "value is either not quoted or unidentified quote types"),
        ("params.acc = `LR`", "value is either not quoted or unidentified quote types"),
        ("params.acc = 'LR", "Invalid clause(s) in filter string"),
        ("tags.acc = = 'LR'", "Invalid clause(s) in filter string"),
        ("metrics.abc ~= 1.0", "Invalid comparator"),
        ("tags.abc > 'x'", "Invalid comparator"),
        ("params.abc NOT LIKE 'x'", "Invalid comparator"),
        ("attributes.start_time LIKE 1", "Invalid comparator"),
        ("attributes.status IN ('a')", "Only ['run_id'] attributes support comparison with a list"),
        ("run_id IN ()", "expected a non-empty list of string values"),
        ("run_id IN ('a', 1)", "expected a non-empty list of string values"),
        ("metrics.a > 1 -- and more", "Invalid clause(s) in filter string"),
        ("metrics.a > 1 UNION SELECT 1", "Invalid clause(s) in filter string"),
        ("metrics.a > 1\0", "no NUL"),
        (" AND ".join(["metrics.a > 1"] * 101), "more than 100 clauses"),
        ("tags.a = '" + "x" * 100_000 + "'", "at most 100000"),
        ("tags.a LIKE '" + "%" * 9_000 + "'", "a pattern has more than"),
    ],
)
def test_what_mlflow_refuses_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)):
        parse_filter(text, RUN_FIELDS)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("metrics.loss", ("metric", "loss", True)),
        ("metrics.`a b` desc", ("metric", "a b", False)),
        ('params."x/y" ASC', ("parameter", "x/y", True)),
        ("attribute.Created DESC", ("attribute", "start_time", False)),
        ("tags.mlflow.source.name", ("tag", "mlflow.source.name", True)),
    ],
)
def test_an_order_is_a_key_and_perhaps_a_direction(text: str, order: Any) -> None:
    assert parse_order([text], RUN_FIELDS) == (Order(*order),)


@pytest.mark.parametrize(
    "texts",
    [["metrics.a down"], ["metrics.a asc desc"], [""], ["1"], ["datasets.name"], ["foo"], ["m.x"], ["tags.a"] * 2],
)
def test_another_order_is_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidValue):
        parse_order(texts, RUN_FIELDS)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=30).map(" ".join)))
def test_a_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    for parse in (lambda: parse_filter(text, RUN_FIELDS), lambda: parse_order([text], RUN_FIELDS)):
        with contextlib.suppress(InvalidValue):
            parse()


@given(st.text("ab%_*.", max_size=8), st.text("ab*.", max_size=8))
def test_like_means_what_it_means_as_a_regular_expression(pattern: str, value: str) -> None:
    wanted = "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in pattern)

    assert holds(Clause("tag", "k", "LIKE", pattern), value) == bool(re.fullmatch(wanted, value, re.DOTALL))
    assert holds(Clause("tag", "k", "ILIKE", pattern.upper()), value) == bool(re.fullmatch(wanted, value, re.DOTALL))
