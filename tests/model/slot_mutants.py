"""Statements that keep the limits of a queue wrongly: the explorer has to notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from sqlalchemy import (
    Boolean,
    Float,
    Integer,
    Select,
    Table,
    and_,
    literal,
    literal_column,
    select,
)
from sqlalchemy.sql import operators

from tests.model.mutants import Mutant
from tests.model.slots import GATE
from xclaim.sql.dialects import Dialect
from xclaim.sql.statements import Statement, claiming, limiting

_AGES = 1e9  # seconds


@lru_cache
def claim_with_a_gate(table: Table, dialect: Dialect, **options: Any) -> Statement:
    """Claim within limits; but whoever is to stop has looked by then, and locked nothing."""
    is_limited = limiting.is_limited

    def gated(settings: Any) -> Any:
        return and_(is_limited(settings), literal_column(GATE, Boolean))

    with patch.object(limiting, "is_limited", gated):
        return claiming.claim_within.__wrapped__(table, dialect, **options)


def _with(name: str, instead: Any) -> Mutant:
    """Return the mutant of a claim that is built with another function, or value."""

    @lru_cache
    def claim(table: Table, dialect: Dialect, **options: Any) -> Statement:
        with patch.object(limiting, name, instead):
            return claim_with_a_gate.__wrapped__(table, dialect, **options)

    return Mutant(builders={"claim_within": claim})


def _whatever_it_names(*clauses: Any) -> Any:
    """Leave out what compares a slot that is locked with the same one as it was seen."""
    compares = operators.is_not_distinct_from
    return and_(*[each for each in clauses if getattr(each, "operator", None) is not compares])


@lru_cache
def claim_without_a_lock(table: Table, dialect: Dialect, **options: Any) -> Statement:
    """Lock the messages, and not the slots."""
    real: Callable[..., Select[Any]] = Select.with_for_update

    def locks(statement: Select[Any], **said: Any) -> Select[Any]:
        is_of_slots = getattr(said.get("of"), "name", None) == "slot_of_ours"
        return statement if is_of_slots else real(statement, **said)

    with patch.object(Select, "with_for_update", locks):
        return claim_with_a_gate.__wrapped__(table, dialect, **options)


def _none_claimed(_table: Table, _most: Any) -> Any:
    return select(literal_column("0", Integer))


def _ages_hence(_setting: Any, dialect: Dialect) -> Any:
    return dialect.from_now(literal(_AGES, Float))


NO_MUTANT = Mutant(builders={"claim_within": claim_with_a_gate})
SLOT_MUTANTS = {
    "a slot that is not locked": Mutant(builders={"claim_within": claim_without_a_lock}),
    "a slot that another has taken since": _with("and_", _whatever_it_names),
    "claims without a slot are not counted": _with("_claimed", _none_claimed),
    "what is consumed keeps its slot": _with("CLAIMED", literal_column("status")),
    "a rate that forgets": _with("_latest", _ages_hence),
}
