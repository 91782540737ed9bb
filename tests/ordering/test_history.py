"""The judge can fail: each broken promise, planted in a log made by hand, is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ordering import history


class Story:
    """The logs of a few processes; each line is a second after the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = 0.0

    def tell(self, process: str, event: str, **values: Any) -> Story:
        self._at += 1
        with (self._folder / f"{process}.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, "at": self._at, **values}) + "\n")
        return self

    def push(self, id_: int) -> Story:
        items = [[f"{id_}i", "k"]]
        self.tell("p", "pushing", items=items)
        return self.tell("p", "pushed", items=items, ids=[id_])

    def claim(self, process: str, id_: int, token: str, lease: float = 100) -> Story:
        claims = [[id_, "k", token]]
        return self.tell(process, "claimed", claims=claims, asked_at=self._at, lease=lease)

    def ack(self, process: str, token: str) -> Story:
        self.tell(process, "ending", token=token, how="ack")
        return self.tell(process, "ended", token=token)

    def broken(self) -> list[str]:
        return history.read(self._folder).broken()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_nothing_is_found_where_all_is_well(story: Story) -> None:
    story.push(1).push(2).claim("a", 1, "t1").ack("a", "t1").claim("b", 2, "t2").ack("b", "t2")

    assert story.broken() == []


def test_two_claims_of_a_key_at_once_are_found(story: Story) -> None:
    story.claim("a", 1, "t1").claim("b", 2, "t2").ack("b", "t2").ack("a", "t1")

    assert ["at once" in each for each in story.broken()] == [True]


def test_a_claim_after_a_lapsed_one_is_none_too_many(story: Story) -> None:
    story.claim("a", 1, "t1", lease=0.5).claim("b", 1, "t2").ack("b", "t2")

    assert story.broken() == []


def test_a_message_that_is_acked_twice_is_found(story: Story) -> None:
    story.claim("a", 1, "t1").ack("a", "t1").claim("b", 1, "t2").ack("b", "t2")

    assert story.broken() == ["message 1 was acked 2 times"]


def test_a_message_that_is_passed_over_is_found(story: Story) -> None:
    story.push(1).push(2).claim("a", 2, "t1").ack("a", "t1").claim("b", 1, "t2").ack("b", "t2")

    assert ["was claimed before" in each for each in story.broken()] == [True]


def test_what_nobody_expected_is_found(story: Story) -> None:
    story.tell("a", "unexpected", error="boom")

    assert story.broken() == ["a: boom"]
