"""Data quality: what becomes of each row of a batch under a table's rules, with counts and reasons. Pure.

Rules apply in the order they are declared, each to the rows the ones before it left. Every row of the batch ends in
exactly one place: kept (perhaps repaired), quarantined as it came with the first reason, or dropped as a duplicate.
"""

from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.lake.casts import cast
from sill.lake.columns import ROW, bound_of, filling, not_for, ranked, split_nulls, without_nan
from sill.lake.types import Between, Cast, Fill, Matches, NotNull, OneOf, QualityGate, TableSpec, Unique

if TYPE_CHECKING:
    import pyarrow as pa

RULES_MAX = 1_000


@dataclass
class Judged:
    """What the rules made of a batch.

    Attributes:
        kept: the rows to write, repaired.
        kept_rows: for each of them its place in the batch.
        quarantined_rows: places of the rows not taken, in order; `reasons` says why, one for each.
        dropped: duplicates of other rows of the batch.
        repaired, quarantined: reason → rows.
        refusals: reasons of rules that refuse the batch whole.
    """

    kept: "pa.Table"
    kept_rows: list[int]
    rows_repaired: int
    dropped: int = 0
    quarantined_rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    repaired: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)


def judge(data: "pa.Table", spec: TableSpec) -> Judged:
    """Apply the table's rules to a batch.

    Raises:
        InvalidValue: a rule cannot be applied to the column as it is; it says to what it can.
    """
    work = _Work(data, spec.time)
    for rule in spec.rules:
        work.apply(rule)
    return work.judged()


def gate_reason(gate: QualityGate, rows: int, judged: Judged) -> str:
    """Why the gate refuses the batch whole, with the figures; empty if it lets it pass."""
    if judged.refusals:
        return "; ".join(judged.refusals)
    if rows < gate.rows_min:
        return f"the batch has {rows} rows, at least {gate.rows_min} are asked for"
    for done, count, most in (
        ("quarantined", len(judged.quarantined_rows), gate.quarantined_fraction_max),
        ("repaired", judged.rows_repaired, gate.repaired_fraction_max),
    ):
        if rows and count / rows > most:
            causes = judged.quarantined if done == "quarantined" else judged.repaired
            why = ", ".join(f"{reason}: {n}" for reason, n in sorted(causes.items(), key=lambda one: -one[1])[:5])
            return f"{count} of {rows} rows would be {done} ({count / rows:.1%}; at most {most:.1%} may be): {why}"
    return ""


def matching(rule: Matches, texts: Any) -> Any:
    """Which texts match in full.

    Raises:
        InvalidValue: the pattern is not a regular expression RE2 knows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.match_substring_regex(texts, rf"\A(?:{rule.pattern})\z")
    except pa.ArrowInvalid as wrong:
        raise InvalidValue(
            f"pattern {shorten(rule.pattern)!r} cannot be read: {shorten(str(wrong))}.",
            fix="Write it in RE2's syntax, which has no look-around and no back-references.",
            field="rules",
        ) from wrong


class _Work:
    """The batch while rules go over it: the rows still in, and what became of the others."""

    def __init__(self, data: "pa.Table", time: str) -> None:
        import pyarrow as pa

        self.table = data.append_column(ROW, pa.array(range(data.num_rows), pa.int64()))
        self.time = time
        self.touched: set[int] = set()
        self.out: dict[int, str] = {}
        self.dropped = 0
        self.repaired: dict[str, int] = {}
        self.quarantined: dict[str, int] = {}
        self.refusals: list[str] = []

    def judged(self) -> Judged:
        """The end of it."""
        rows = self.table.column(ROW).to_pylist()
        out = sorted(self.out)
        return Judged(
            kept=self.table.drop_columns([ROW]),
            kept_rows=rows,
            rows_repaired=len(self.touched.intersection(rows)),
            dropped=self.dropped,
            quarantined_rows=out,
            reasons=[self.out[row] for row in out],
            repaired=self.repaired,
            quarantined=self.quarantined,
            refusals=self.refusals,
        )

    @singledispatchmethod
    def apply(self, rule: Any) -> None:
        """Apply one rule."""
        raise TypeError(f"no such rule: {rule!r}")

    @apply.register
    def _between(self, rule: Between) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None:
            return
        if not (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
        ):
            if column.null_count == len(column):
                return
            raise not_for(rule.column, column, "between", "numbers")
        values = column.cast(pa.float64(), safe=False)
        inside = pa.chunked_array([pa.array([True] * len(values), pa.bool_())])
        clipped = column
        if rule.low is not None:
            inside = pc.and_(inside, pc.greater_equal(values, rule.low))
            clipped = pc.if_else(pc.less(values, rule.low), bound_of(rule.low, column), clipped)
        if rule.high is not None:
            inside = pc.and_(inside, pc.less_equal(values, rule.high))
            clipped = pc.if_else(pc.greater(values, rule.high), bound_of(rule.high, column), clipped)
        if pa.types.is_floating(column.type):
            clipped = without_nan(clipped)
        reason = f"{rule.column} is {_outside(rule)}"
        self._violated(rule.column, pc.invert(pc.fill_null(inside, True)), reason, rule.action, clipped)

    @apply.register
    def _fill(self, rule: Fill) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None:
            if rule.strategy != "value" or rule.value is None or not self.table.num_rows:
                return
            column = pa.chunked_array([pa.nulls(self.table.num_rows, pa.scalar(rule.value).type)])
            self.table = self.table.append_column(rule.column, column)
        clean = without_nan(column) if pa.types.is_floating(column.type) else column
        missing = pc.is_null(clean)
        if not pc.any(missing).as_py():
            return
        value = filling(rule, clean)
        if value is not None:
            self._repair(rule.column, missing, f"{rule.column} was missing", pc.fill_null(clean, value))

    @apply.register
    def _one_of(self, rule: OneOf) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None:
            return
        known = {str(value) for value in rule.values}
        texts = column.cast(pa.string()) if not pa.types.is_string(column.type) else column
        wrong = pc.and_(pc.is_valid(texts), pc.invert(pc.is_in(texts, pa.array(sorted(known), pa.string()))))
        emptied = pc.if_else(wrong, pa.scalar(None, column.type), column)
        listed = shorten(", ".join(str(value) for value in rule.values))
        self._violated(rule.column, wrong, f"{rule.column} is not one of {listed}", rule.action, emptied)

    @apply.register
    def _not_null(self, rule: NotNull) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None:
            missing: Any = pa.chunked_array([pa.array([True] * self.table.num_rows, pa.bool_())])
        else:
            missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        self._violated(rule.column, missing, f"{rule.column} is missing", rule.action, column)

    @apply.register
    def _cast(self, rule: Cast) -> None:
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None:
            return
        turned, failed = cast(column, rule.type)
        is_failed = pc.any(failed).as_py()
        self._set(rule.column, turned)  # first the type: rows that failed hold null now and leave, or stay missing
        if is_failed:
            self._violated(rule.column, failed, f"{rule.column} is not {_spoken(rule.type)}", rule.action, turned)

    @apply.register
    def _matches(self, rule: Matches) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(rule.column)
        if column is None or column.null_count == len(column):
            return
        if not pa.types.is_string(column.type):
            raise not_for(rule.column, column, "matches", "text")
        good = matching(rule, column)
        bad = pc.invert(pc.fill_null(good, True))
        self._violated(rule.column, bad, f"{rule.column} does not match {shorten(rule.pattern)}", rule.action, column)

    @apply.register
    def _unique(self, rule: Unique) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in rule.columns:
            if self._column(name) is None:
                raise InvalidValue(
                    f"rule unique names column {name!r}, which the batch does not have.",
                    fix="Correct the rule or the data.",
                )
        whole, unsure = split_nulls(self.table, rule.columns)
        best_last = ranked(whole, self.time, keep_first=rule.keep == "first")
        groups = best_last.select([*rule.columns, "__rank"]).group_by(list(rule.columns)).aggregate([("__rank", "max")])
        best = pc.is_in(best_last.column("__rank"), groups.column("__rank_max"))
        kept = best_last.filter(best).drop_columns(["__rank"])
        self.dropped += whole.num_rows - kept.num_rows
        self.table = pa.concat_tables([kept, unsure]).sort_by(ROW)

    def _column(self, name: str) -> Any:
        return self.table.column(name) if name in self.table.column_names else None

    def _set(self, name: str, column: Any) -> None:
        self.table = self.table.set_column(self.table.column_names.index(name), name, column)

    def _violated(self, name: str, wrong: Any, reason: str, action: str, mended: Any) -> None:
        """Do as the rule says with the rows where `wrong` is true."""
        import pyarrow.compute as pc

        count = pc.sum(wrong).as_py() or 0
        if not count:
            return
        if action == "repair":
            self._repair(name, wrong, reason, mended)
        elif action == "refuse":
            self.refusals.append(f"{reason} in {count} rows")
        else:
            for row in self.table.filter(wrong).column(ROW).to_pylist():
                self.out[row] = reason
            self.quarantined[reason] = self.quarantined.get(reason, 0) + count
            self.table = self.table.filter(pc.invert(wrong))

    def _repair(self, name: str, wrong: Any, reason: str, mended: Any) -> None:
        rows = self.table.filter(wrong).column(ROW).to_pylist()
        self.touched.update(rows)
        self.repaired[reason] = self.repaired.get(reason, 0) + len(rows)
        self._set(name, mended)


def _outside(rule: Between) -> str:
    """What a value that breaks the rule is, in words that also fit NaN."""
    if rule.low is None or rule.high is None:
        bounds = [f"at least {rule.low:g}"] if rule.low is not None else []
        bounds += [f"at most {rule.high:g}"] if rule.high is not None else []
        return f"not {bounds[0] if bounds else 'a number'}"
    return f"not within {rule.low:g} to {rule.high:g}"


def _spoken(kind: str) -> str:
    return {"int64": "a whole number", "float64": "a number", "string": "text", "bool": "true or false"}.get(
        kind, {"timestamp": "a time"}.get(kind, "a date")
    )
