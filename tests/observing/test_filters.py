"""The filter language: what is written is what is meant, and nothing else is raised."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from xclaim.errors import FilterError, InvalidArgumentError
from xclaim.observing.filters import (
    TERMS,
    Filter,
    OfIds,
    OfPayload,
    OfRange,
    OfStatus,
    OfText,
    StatusWord,
    TextName,
    parse,
)

TEXTS = some.text(
    some.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=12
)
NEGATED = some.booleans()
JSON = some.one_of(
    some.integers(-(10**20), 10**20).map(str),
    some.sampled_from(["true", "false", "null", "1.50", "-0", "2e10", "1E-3"]),
)
IDS = some.integers(-(2**63), 2**63 - 1)  # a hand may write any
TERM = some.one_of(
    some.builds(OfStatus, word=some.sampled_from(StatusWord), is_negated=NEGATED),
    some.builds(
        OfText,
        name=some.sampled_from([name for name in TextName if name is not TextName.ERROR]),
        text=TEXTS,
        is_prefix=some.booleans(),
        is_negated=NEGATED,
    ),
    some.builds(OfText, name=some.just(TextName.ERROR), text=TEXTS, is_negated=NEGATED),
    some.builds(
        OfIds,
        ids=some.sets(IDS, min_size=1, max_size=5).map(lambda ids: tuple(sorted(ids))),
        is_negated=NEGATED,
    ),
    some.builds(
        lambda one, other, is_negated: OfRange(
            first=min(one, other), last=max(one, other), is_negated=is_negated
        ),
        IDS,
        IDS,
        NEGATED,
    ),
    some.builds(
        OfPayload,
        steps=some.lists(TEXTS, max_size=4).map(tuple),
        json=JSON | TEXTS.map(json.dumps),
        is_negated=NEGATED,
    ),
)
FILTERS = some.lists(TERM, max_size=6).map(lambda terms: Filter(tuple(terms)))


@settings(max_examples=60)
@given(FILTERS)
def test_a_filter_that_is_written_and_read_again_is_the_same(filter_: Filter) -> None:
    assert parse(str(filter_)) == filter_


PIECES = some.sampled_from(
    ['"', "\\", ":", "*", "-", ".", "..", ",", " ", "\n", "\x00", "\ud800", "payload", *TERMS]
)


@settings(max_examples=60)
@given(some.lists(PIECES | some.text(max_size=4) | some.integers().map(str)).map("".join))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    parsed = refused = None
    try:
        parsed = parse(text)
    except FilterError as error:
        refused = error

    assert parsed is None or parse(str(parsed)) == parsed
    assert refused is None or 0 <= refused.position <= len(text)
    assert str(refused or "").isprintable()


PAGE = Path(__file__).parents[2] / "docs" / "guides" / "dashboard-actions.md"


def test_the_guide_has_every_term_and_status_and_every_filter_in_it_is_one() -> None:
    _, _, section = PAGE.read_text().partition("\n## Messages\n")
    table = re.findall(r"^\| (`.*`) \|", section.partition("\n## ")[0], re.MULTILINE)
    written = [filter_ for row in table for filter_ in re.findall(r"`([^`]+)`", row)]

    terms = [term for filter_ in written for term in parse(filter_).terms]
    names = {str(term).removeprefix("-").partition(":")[0].partition(".")[0] for term in terms}
    statuses = {term.word for term in terms if isinstance(term, OfStatus)}

    assert names == {*map(str, TERMS)}
    assert statuses == {*StatusWord}


MEANT = {
    "": (),
    "  \t ": (),
    "status:dead": (OfStatus(word=StatusWord.DEAD),),
    "-status:dead": (OfStatus(word=StatusWord.DEAD, is_negated=True),),
    "queue:orders key:a-1": (
        OfText(name=TextName.QUEUE, text="orders"),
        OfText(name=TextName.KEY, text="a-1"),
    ),
    "by:nightly*": (OfText(name=TextName.BY, text="nightly", is_prefix=True),),
    'by:"nightly*"': (OfText(name=TextName.BY, text="nightly*"),),
    'by:"night ly"*': (OfText(name=TextName.BY, text="night ly", is_prefix=True),),
    "by:etl/manual__2026-11-27T02:22:02+00:00/load[3]#1@host": (
        OfText(name=TextName.BY, text="etl/manual__2026-11-27T02:22:02+00:00/load[3]#1@host"),
    ),
    'error:"it said \\"no\\" in C:\\\\temp"': (
        OfText(name=TextName.ERROR, text='it said "no" in C:\\temp'),
    ),
    "-class:*": (OfText(name=TextName.CLASS, text="", is_prefix=True, is_negated=True),),
    "class:httpx.ReadTimeout": (OfText(name=TextName.CLASS, text="httpx.ReadTimeout"),),
    "id:17": (OfIds(ids=(17,)),),
    "id:3,1,2,1": (OfIds(ids=(1, 2, 3)),),
    "id:10..20": (OfRange(first=10, last=20),),
    "id:-5": (OfIds(ids=(-5,)),),
    "id:2,-5,0": (OfIds(ids=(-5, 0, 2)),),
    "id:-20..-10": (OfRange(first=-20, last=-10),),
    f"-id:{-(2**63)}": (OfIds(ids=(-(2**63),), is_negated=True),),
    "payload.a.b:tea": (OfPayload(steps=("a", "b"), json='"tea"'),),
    "payload.items.0.sku:17": (OfPayload(steps=("items", "0", "sku"), json="17"),),
    'payload.a:"17"': (OfPayload(steps=("a",), json='"17"'),),
    "payload.a:true": (OfPayload(steps=("a",), json="true"),),
    "payload.a:null": (OfPayload(steps=("a",), json="null"),),
    "payload.a:-1.5e3": (OfPayload(steps=("a",), json="-1.5e3"),),
    "payload.a:007": (OfPayload(steps=("a",), json='"007"'),),
    'payload."a.b c":1': (OfPayload(steps=("a.b c",), json="1"),),
    'payload."":1': (OfPayload(steps=("",), json="1"),),
    'payload.a."".b:1': (OfPayload(steps=("a", "", "b"), json="1"),),
    "payload:7": (OfPayload(steps=(), json="7"),),
    'payload.a:""': (OfPayload(steps=("a",), json='""'),),
}


@pytest.mark.parametrize("text", MEANT)
def test_a_filter_means_what_it_says(text: str) -> None:
    assert parse(text).terms == MEANT[text]


REFUSED = {
    "stauts:dead": (0, "did you mean status"),
    "queue:orders status:ded": (20, "did you mean dead"),
    "status:dea*": (7, "there is no status"),
    "teapot": (0, "key:teapot"),
    "17": (0, "id:17"),
    "queue:": (6, "has no value"),
    "queue: orders": (6, "has no value"),
    'queue:""': (6, "which no message has"),
    'key:"open': (4, "do not end"),
    'key:a"b"': (5, "in quotes"),
    "id:x": (3, "is no id"),
    "id:1,,2": (3, "is no id"),
    "id:20..10": (3, "id:10..20"),
    "id:99999999999999999999": (3, "too large"),
    f"id:{'9' * 1_900}": (3, "too large"),
    f"id:{2**63}": (3, "too large"),
    f"id:{-(2**63) - 1}": (3, "too small"),
    f"id:-{'9' * 1_900}": (3, "too small"),
    "id:-": (3, "is no id"),
    "id:--5": (3, "is no id"),
    "id:-10..-20": (3, "id:-20..-10"),
    "payload.:1": (8, "is empty"),
    "payload..a:1": (8, "is empty"),
    "payload.a": (0, "no colon"),
    "payload.a:b*": (10, "as a whole"),
    "payload.a:1e999": (10, "too large"),
    "payload.a:1e-999": (10, "too large"),
    "error:a*": (6, "anywhere"),
    "key:a\x00": (4, "NUL"),
    "key:\ud800": (4, "surrogate"),
    "payload.\ud800:1": (8, "surrogate"),
    ":": (0, "there is no term"),
    "-": (0, "does not say where to look"),
    "x" * 2_001: (2_000, "at most 2,000"),
    " ".join(["id:1"] * 21): (100, "more than 20"),
    "payload" + ".a" * 21 + ":1": (48, "more than 20"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_understood_is_refused_with_its_place_and_a_way_out(text: str) -> None:
    position, said = REFUSED[text]

    with pytest.raises(FilterError) as raised:
        parse(text)

    assert raised.value.position == position
    assert said in str(raised.value)
    assert isinstance(raised.value, InvalidArgumentError)
