"""Plain JSON in batches: each payload within the limit, however they are cut."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from xclaim.payloads.plain_json import encode_within

TEXTS = some.lists(some.text(alphabet="aé😀", max_size=12), max_size=40)


@given(values=TEXTS, limit=some.integers(0, 60))
def test_a_batch_is_encoded_whole_unless_one_payload_is_too_large(
    values: list[str], limit: int
) -> None:
    longest = max(
        (len(json.dumps(each, ensure_ascii=False).encode()) for each in values), default=0
    )

    encoded = encode_within(values, limit)

    if longest > limit:
        assert encoded is None
    else:
        assert encoded is not None
        assert json.loads(encoded.text) == encoded.value == values


@pytest.mark.parametrize("values", [[], [1], [{"a": 1}] * 1_000])
def test_without_a_limit_all_of_it_is_encoded(values: list[Any]) -> None:
    encoded = encode_within(values, sys.maxsize)

    assert encoded is not None
    assert json.loads(encoded.text) == values


@pytest.mark.parametrize("value", [(1, 2), float("nan"), object(), {1: 2}, "\x00", "\ud800"])
def test_what_needs_a_closer_look_is_left_to_others(value: Any) -> None:
    assert encode_within([1, value], sys.maxsize) is None
