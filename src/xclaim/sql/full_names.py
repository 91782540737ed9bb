"""The text that PostgreSQL is sent: functions, operators and types by their full names.

By its short name PostgreSQL looks for each along the search path and takes what fits the arguments
best: so whoever may create objects in a schema of the path could have his own called by everybody
who uses a queue (CVE-2018-1058). With ``pg_catalog.`` in front there is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BinaryExpression, Boolean, Dialect, Double
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg, PGDialect_psycopg
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ExpressionClauseList

from xclaim.sql.schema import DELETE_NAME, LINE_UP_NAME, PASS_OWED_NAME

SCHEMA = "pg_catalog"
_OURS = {DELETE_NAME, LINE_UP_NAME, PASS_OWED_NAME}
# Neither functions nor operators but syntax; what is not here is looked for in the catalog.
_SYNTAX_FUNCTIONS = {"array", "coalesce", "greatest", "least"}
_SYNTAX_OPERATORS = {operators.is_, operators.is_not}
_SYNTAX_LISTS = {operators.and_, operators.or_}
_SYNTAX_UNARY = {
    operators.any_op,
    operators.exists,
    operators.inv,
    operators.is_false,
    operators.is_true,
    None,
}
_OPERATORS: dict[Any, str] = {
    operators.eq: "=",
    operators.ne: "<>",
    operators.lt: "<",
    operators.le: "<=",
    operators.gt: ">",
    operators.ge: ">=",
    operators.add: "+",
    operators.sub: "-",
    operators.mul: "*",
    operators.mod: "%",
    operators.concat_op: "||",
    operators.like_op: "~~",
    operators.not_like_op: "!~~",
}


@cache
def dialect() -> Dialect:
    """Return what statements are compiled with: one for all engines, so that each is once."""
    made: Dialect = _FullNames()
    return made


def _operator(symbol: str) -> str:
    return f"OPERATOR({SCHEMA}.{symbol})"


# Their methods have no types.
_UntypedCompiler: Any = PGCompiler_psycopg
_UntypedDialect: Any = PGDialect_psycopg


class _Compiler(_UntypedCompiler):  # type: ignore[misc]
    """Compiles what the statements consist of, and refuses what it cannot name in full."""

    def visit_binary(self, binary: Any, override_operator: Any = None, **options: Any) -> str:
        operator = override_operator or binary.operator
        if operator in _SYNTAX_OPERATORS:
            text: str = super().visit_binary(binary, override_operator, **options)
            return text
        left = self._operand(binary.left, **options)
        right = self._operand(binary.right, **options)
        if operator is operators.in_op:
            return f"{left} {_operator('=')} ANY (ARRAY[{right.removeprefix('(')[:-1]}])"
        if operator is operators.is_not_distinct_from:
            return _is_same(left, right)
        if operator is operators.is_distinct_from:
            return f"NOT {_is_same(left, right)}"
        return f"{left} {_full_name(operator)} {right}"

    def visit_expression_clauselist(self, clauselist: Any, **options: Any) -> str:
        if clauselist.operator in _SYNTAX_LISTS:
            text: str = super().visit_expression_clauselist(clauselist, **options)
            return text
        name = _full_name(clauselist.operator)
        return f" {name} ".join(self._operand(each, **options) for each in clauselist.clauses)

    def visit_unary(self, unary: Any, **options: Any) -> str:
        if unary.operator is operators.neg:
            return f"{_operator('-')} {self._operand(unary.element, **options)}"
        if unary.operator not in _SYNTAX_UNARY:
            raise CompileError(f"operator {unary.operator!r} is not known by its full name")
        text: str = super().visit_unary(unary, **options)
        return text

    def visit_function(self, func: Any, *given: Any, **options: Any) -> str:
        text: str = super().visit_function(func, *given, **options)
        # Of several arrays PostgreSQL's grammar takes `unnest` for its own, and only the bare name.
        is_special = func.name == "unnest" and len(func.clauses) > 1
        is_ours = func.packagenames or func.name in _OURS  # by the path, as the table is
        if is_special or is_ours or func.name.lower() in _SYNTAX_FUNCTIONS | {"nullif"}:
            return text
        return f"{SCHEMA}.{text}"

    def visit_nullif_func(self, func: Any, **options: Any) -> str:
        value, other = (self._operand(each, **options) for each in func.clauses)
        return f"CASE WHEN {value} {_operator('=')} {other} THEN NULL ELSE {value} END"

    def visit_case(self, clause: Any, **options: Any) -> str:
        if clause.value is not None:
            raise CompileError("CASE with a value compares by an operator of the search path")
        text: str = super().visit_case(clause, **options)
        return text

    def escape_literal_column(self, text: str) -> str:
        escaped: str = super().escape_literal_column(in_full(text))
        return escaped

    def post_process_text(self, text: str) -> str:
        processed: str = super().post_process_text(in_full(text))
        return processed

    def _operand(self, element: Any, **options: Any) -> str:
        # Written in full, all operators bind alike.
        text: str = self.process(element, **options)
        is_expression = isinstance(element, BinaryExpression | ExpressionClauseList) or (
            getattr(element, "operator", None) is operators.neg
        )
        return f"({text})" if is_expression else text


def _full_name(operator: Any) -> str:
    symbol = _OPERATORS.get(operator) or getattr(operator, "opstring", None)
    if symbol is None:
        raise CompileError(f"operator {operator!r} is not known by its full name")
    return _operator(symbol.replace("%", "%%"))


def _is_same(left: str, right: str) -> str:
    return f"coalesce({left} {_operator('=')} {right}, {left} IS NULL AND {right} IS NULL)"


class _Types(PGTypeCompiler):
    """The types whose names are no words of the grammar. Texts are bound as the columns are."""

    def visit_TEXT(self, type_: Any, **options: Any) -> str:  # noqa: N802  (SQLAlchemy's)
        return f"{SCHEMA}.text"

    visit_VARCHAR = visit_TEXT  # noqa: N815  (SQLAlchemy's)

    def visit_JSONB(self, type_: Any, **options: Any) -> str:  # noqa: N802  (SQLAlchemy's)
        return f"{SCHEMA}.jsonb"

    def visit_UUID(self, type_: Any, **options: Any) -> str:  # noqa: N802  (SQLAlchemy's)
        return f"{SCHEMA}.uuid"


class _CastDouble(Double[Any]):
    render_bind_cast = True


class _CastBoolean(Boolean):
    render_bind_cast = True


class _FullNames(_UntypedDialect):  # type: ignore[misc]
    supports_statement_cache = True
    statement_compiler = _Compiler
    type_compiler_cls = _Types
    colspecs: ClassVar = {
        **PGDialect_psycopg.colspecs,
        Double: _CastDouble,
        Boolean: _CastBoolean,
    }


# What is written as text: a small part of SQL, and an error for all beyond it.

_TOKENS = re.compile(
    r"""(?P<space>\s+)
      | (?P<literal>E?'(?:[^'\\]|\\.|'')*' | "[^"]*"(?:\.\w+)? | [0-9]+(?:\.[0-9]+)? | :[a-z_]\w*)
      | (?P<cast>::\s*[a-z]\w*)
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<open>[(\[]) | (?P<close>[)\]]) | (?P<comma>,)
      | (?P<operator>[-+*/<>=~!@#%^&|`?]+)""",
    re.VERBOSE,
)
_VALUES = {"end", "false", "null", "true"}  # words after which an operator has its left side
_WORDS = _VALUES | set(
    (  # noqa: SIM905  (a list of forty lines reads no better)
        "all and any array as asc by case coalesce cross desc distinct else epoch exists extract "
        "filter from greatest group having in interval is join lateral least left like limit "
        "materialized not offset on or order recursive select then union when where with"
    ).split()
)
_REFUSED = {"between", "ilike", "nullif", "overlaps", "similar", "using"}
_TYPES = {"json", "jsonb", "name", "oid", "regclass", "text", "uuid"}
_CHAINED = {"||", "+"}  # which may follow themselves without parentheses


class _Token(NamedTuple):
    kind: str
    text: str

    @property
    def word(self) -> str:
        return self.text.lower()


_OPENING = _Token("open", "(")


@lru_cache(1024)
def in_full(text: str) -> str:
    """Return SQL with the full names of its functions, operators, types and catalogs.

    Raise ValueError for what it does not know, or what would be read otherwise: written in full,
    all operators bind alike.
    """
    return _Writing(text).written()


class _Writing:
    """One text: where in it we are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._before = _Token("word", "select")
        self._operators: list[str | None] = [None]  # the last one at each depth, since a word
        self._lists: list[int] = []  # the depths of the lists of IN

    def written(self) -> str:
        tokens = [*self._tokens(), _Token("end", "")]
        return "".join(self._write(token, after) for token, after in pairwise(tokens))

    def _tokens(self) -> Iterator[_Token]:
        place = 0
        while place < len(self._text):
            found = _TOKENS.match(self._text, place)
            if found is None:
                raise self._error(f"{self._text[place:]!r} is not known by its full name")
            yield _Token(str(found.lastgroup), found.group())
            place = found.end()

    def _write(self, token: _Token, after: _Token) -> str:
        match token.kind:
            case "space":
                return token.text
            case "operator" if self._has_left_side():
                text = self._operator(token.text)
            case "word" if token.word in _WORDS | _REFUSED:
                text = self._word(token)
            case "word":
                text = _named(token, after)
            case "cast":
                text = _cast(token)
            case "open" | "close":
                text = self._bracket(token)
            case _:
                text = token.text
        if token.kind == "comma":
            self._operators[-1] = None
        self._before = token
        return text

    def _has_left_side(self) -> bool:
        if self._before.kind == "word":
            return self._before.word not in _WORDS - _VALUES
        return self._before.kind in ("literal", "close", "cast")

    def _operator(self, symbol: str) -> str:
        if self._operators[-1] not in (None, *({symbol} & _CHAINED)):
            raise self._error(f"write parentheses around what is left of {symbol!r}")
        self._operators[-1] = symbol
        return _operator(symbol)

    def _word(self, token: _Token) -> str:
        self._operators[-1] = None
        follows = self._before.word
        match token.word:
            case "in" | "like" as word if follows == "not":
                raise self._error(f"write NOT before what is left of {word}")
            case "like":
                return _operator("~~")
            case "in":
                self._lists.append(len(self._operators))
                return f"{_operator('=')} ANY"
            case word if word in _REFUSED or (word == "distinct" and follows in ("is", "not")):
                raise self._error(f"{word} looks for an operator along the search path")
            case _:
                return token.text

    def _bracket(self, token: _Token) -> str:
        if token.kind == "close":
            self._operators.pop()
        is_list = self._lists[-1:] == [len(self._operators)]
        if token.kind == "open":
            self._operators.append(None)
            return "(ARRAY[" if is_list else token.text
        if is_list:
            self._lists.pop()
        return "])" if is_list else token.text

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{what}, in {self._text!r}")


def _named(token: _Token, after: _Token) -> str:
    is_catalog = token.text.startswith("pg_") and "." not in token.text
    return f"{SCHEMA}.{token.text}" if after == _OPENING or is_catalog else token.text


def _cast(token: _Token) -> str:
    name = token.text.removeprefix("::").strip()
    return f"::{SCHEMA}.{name}" if name in _TYPES else token.text
