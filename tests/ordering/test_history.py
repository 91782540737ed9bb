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

    def push(self, id_: int, kind: str = "i", key: str | None = "k") -> Story:
        items = [[f"{id_}{kind}", key]]
        self.tell("p", "pushing", items=items)
        return self.tell("p", "pushed", items=items, ids=[id_])

    def claim(self, process: str, id_: int, token: str, **told: Any) -> Story:
        return self.claim_together(process, {token: id_}, **told)

    def claim_together(
        self,
        process: str,
        ids: dict[str, int],
        *,
        lease: float = 100,
        kind: str = "i",
        key: str | None = "k",
        **told: Any,
    ) -> Story:
        claims = [
            {"id": id_, "name": f"{id_}{kind}", "queue": "race", "key": key, "token": token}
            for token, id_ in ids.items()
        ]
        return self.tell(process, "claimed", claims=claims, asked_at=self._at, lease=lease, **told)

    def fail(self, process: str, token: str) -> Story:
        self.tell(process, "ending", token=token, how="fail")
        return self.tell(process, "ended", token=token)

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


def died_and_was_passed(story: Story, kind: str) -> Story:
    """Tell of a dead letter that is redriven after the next of its line was claimed."""
    story.push(1, kind).push(2).claim("a", 1, "t1", kind=kind).fail("a", "t1")
    story.claim("b", 2, "t2").ack("b", "t2")
    return story.claim("c", 1, "t3", kind=kind).ack("c", "t3")


def test_a_dead_letter_that_held_its_line_and_was_passed_is_found(story: Story) -> None:
    died_and_was_passed(story, "h")

    assert ["was claimed before" in each for each in story.broken()] == [True]


def test_a_dead_letter_that_holds_nothing_may_be_passed(story: Story) -> None:
    died_and_was_passed(story, "m")

    assert story.broken() == []


@pytest.mark.parametrize(("kind", "expected"), [("h", [True]), ("m", [])])
def test_what_is_claimed_together_with_one_that_holds_its_line_is_found(
    story: Story, kind: str, expected: list[bool]
) -> None:
    story.push(1, kind).push(2, kind)
    story.claim_together("a", {"t1": 1, "t2": 2}, kind=kind).ack("a", "t1").ack("a", "t2")

    assert ["holds its line" in each for each in story.broken()] == expected


def test_messages_without_a_key_are_claimed_at_once_and_in_any_order(story: Story) -> None:
    story.push(1, key=None).push(2, key=None)
    story.claim("a", 2, "t1", key=None).claim("b", 1, "t2", key=None)
    story.ack("b", "t2").ack("a", "t1")

    assert story.broken() == []


def test_a_message_without_a_key_that_two_have_at_once_is_found(story: Story) -> None:
    story.push(1, key=None).claim("a", 1, "t1", key=None).claim("b", 1, "t2", key=None)

    assert ["had twice" in each for each in story.broken()] == [True]


def test_a_dead_letter_that_two_have_at_once_is_found(story: Story) -> None:
    story.push(1, "m").claim("a", 1, "t1", kind="m", key=None).claim("b", 1, "t2", kind="m")

    assert ["had twice" in each for each in story.broken()] == [True]


def test_another_message_than_the_one_that_was_asked_for_is_found(story: Story) -> None:
    story.push(1).claim("a", 1, "t1", wanted=2)

    assert story.broken() == ["message 1 was claimed where 2 was wanted"]


def test_a_message_that_is_claimed_by_its_id_and_passes_another_is_found(story: Story) -> None:
    story.push(1).push(2).claim("a", 2, "t1", wanted=2).ack("a", "t1")
    story.claim("b", 1, "t2", wanted=1).ack("b", "t2")

    assert ["was claimed before" in each for each in story.broken()] == [True]


def test_what_nobody_expected_is_found(story: Story) -> None:
    story.tell("a", "unexpected", error="boom")

    assert story.broken() == ["a: boom"]
