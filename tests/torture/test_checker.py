"""The checker can fail: each broken promise, planted in logs made by hand, is reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.torture.checker import Effect, Findings, Row, check
from tests.torture.logs import Event, gather
from tests.torture.payloads import is_poison

POISON = next(f"k{number}" for number in range(10_000) if is_poison(f"k{number}"))
ROW = Row(id=1, unique_key="k", status="consumed", attempts=1, consumed_by="a#1")


class Story:
    """The logs of two workers, a line at a time; each line is a second after the last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = 0.0

    def tell(self, worker: str, event: Event, **values: Any) -> Story:
        self._at += 1
        with (self._folder / f"{worker}.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, "at": self._at, **values}) + "\n")
        return self

    def push(self, key: str = "k") -> Story:
        return self.tell("p", Event.PUSHING, keys=[key]).tell("p", Event.PUSHED, ids={key: 1})

    def fail(self, worker: str, token: str) -> Story:
        self.tell(worker, Event.FAILING, tokens=[token])
        return self.tell(worker, Event.FAILED, tokens=[token])

    def claim(
        self, worker: str, token: str, *, attempts: int = 1, loop: str = "consume", lease: float = 1
    ) -> Story:
        claims = [[1, token, attempts, f"{worker}#1"]]
        asked_at = self._at
        return self.tell(
            worker, Event.CLAIMED, claims=claims, loop=loop, asked_at=asked_at, lease=lease
        )

    def ack(self, worker: str, token: str) -> Story:
        self.tell(worker, Event.ACKING, tokens=[token])
        return self.tell(worker, Event.ACKED, tokens=[token])

    def at_once(self) -> Story:
        """Let the next line be no later than when the last attempt began to fail."""
        self._at -= 2
        return self

    def wind_up(
        self,
        worker: str,
        *,
        left: dict[str, int] | None = None,
        held: Sequence[str] = (),
        finished: Sequence[str] = (),
        errors: int = 0,
    ) -> Story:
        return self.tell(
            worker,
            Event.WOUND_UP,
            left=left or {},
            held=held,
            finished=finished,
            errors=errors,
        )

    def check(self, rows: list[Row], effects: list[Effect] | None = None) -> Findings:
        return check(gather(self._folder), rows, effects or [])


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_nothing_is_reported_where_all_is_well(story: Story) -> None:
    findings = story.push().claim("a", "t1").ack("a", "t1").check([ROW])

    assert dict(findings.violations) == {}
    assert (findings.messages, findings.claims, findings.acks) == (1, 1, 1)


def test_a_lost_push_is_reported(story: Story) -> None:
    findings = story.push().check([])

    assert findings.count("lost") == 1


def test_a_push_under_another_id_is_reported(story: Story) -> None:
    story.push().tell("p", Event.PUSHED, ids={"k": 2})

    findings = story.claim("a", "t1").ack("a", "t1").check([ROW])

    assert findings.count("unexpected") == 1


def test_a_message_nobody_pushed_is_reported(story: Story) -> None:
    findings = story.claim("a", "t1").ack("a", "t1").check([ROW])

    assert findings.count("unexpected") == 1


def test_an_ack_by_two_workers_is_reported(story: Story) -> None:
    story.push().claim("a", "t1").ack("a", "t1").claim("b", "t2", attempts=2).ack("b", "t2")

    findings = story.check([ROW])

    assert findings.count("duplicate") == 1


def test_an_ack_that_the_table_does_not_have_is_reported(story: Story) -> None:
    row = Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="b#1")
    story.push().claim("a", "t1").ack("a", "t1").claim("b", "t2", attempts=2)

    findings = story.tell("b", Event.ACKING, tokens=["t2"]).check([row])

    assert findings.count("lost ack") == 1
    assert findings.acks_unknown == {"was acked": 1}


def test_a_message_that_is_left_is_reported(story: Story) -> None:
    row = Row(id=1, unique_key="k", status="available", attempts=0, consumed_by=None)

    findings = story.push().check([row])

    assert findings.count("not consumed") == 1


def test_a_consumption_that_nobody_asked_for_is_reported(story: Story) -> None:
    findings = story.push().claim("a", "t1").check([ROW])

    assert findings.count("unexpected") == 1


def test_an_ack_that_was_refused_and_done_is_reported(story: Story) -> None:
    story.push().claim("a", "t1").tell("a", Event.ACKING, tokens=["t1"])

    findings = story.tell("a", Event.LOST, tokens=["t1"]).check([ROW])

    assert findings.count("refused ack") == 1


def test_an_ack_with_a_token_that_was_replaced_is_reported(story: Story) -> None:
    story.push().claim("a", "t1").claim("b", "t2", attempts=2).ack("a", "t1")

    findings = story.check([ROW])

    assert findings.count("stale ack") == 1


def test_a_claim_during_the_lease_of_another_is_reported(story: Story) -> None:
    story.push().claim("a", "t1", lease=10).claim("b", "t2", attempts=2).ack("b", "t2")

    findings = story.check(
        [Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="b#1")]
    )

    assert findings.count("not exclusive") == 1


def test_a_claim_after_a_release_is_not_reported(story: Story) -> None:
    story.push().claim("a", "t1", lease=10).tell("a", Event.RELEASING, tokens=["t1"])
    story.claim("b", "t2", attempts=2).ack("b", "t2")

    findings = story.check(
        [Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="b#1")]
    )

    assert dict(findings.violations) == {}


def test_one_attempt_of_two_workers_is_reported(story: Story) -> None:
    findings = story.push().claim("a", "t1").claim("b", "t2").ack("a", "t1").check([ROW])

    assert findings.count("not exclusive") == 1


def test_a_missing_effect_is_reported(story: Story) -> None:
    findings = story.push().claim("a", "t1", loop="transact").ack("a", "t1").check([ROW])

    assert findings.count("effect") == 1


def test_an_effect_that_came_twice_is_reported(story: Story) -> None:
    story.push().claim("a", "t1", loop="transact").ack("a", "t1")

    findings = story.check([ROW], [Effect(1, "a#1"), Effect(1, "b#1")])

    assert findings.count("duplicate") == 1


def test_an_effect_of_work_that_was_rolled_back_is_reported(story: Story) -> None:
    findings = story.push().claim("a", "t1").ack("a", "t1").check([ROW], [Effect(1, "b#1")])

    assert findings.count("effect") == 1


def test_a_cancelled_consumer_that_leaves_messages_claimed_is_reported(story: Story) -> None:
    story.push().wind_up("b", left={"t1": 1}).claim("a", "t2").ack("a", "t2")

    findings = story.check([ROW])

    assert findings.count("left claimed") == 1


def test_what_a_cancelled_consumer_holds_by_its_own_wish_is_not_reported(story: Story) -> None:
    story.push().claim("b", "t1").wind_up("b", left={"t1": 1}, held=["t1"])
    story.claim("a", "t2", attempts=2).ack("a", "t2")

    findings = story.check(
        [Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="a#1")]
    )

    assert dict(findings.violations) == {}
    assert findings.wound_up == 1


def test_what_is_left_after_an_error_of_the_database_is_not_judged(story: Story) -> None:
    story.push().wind_up("b", left={"t1": 1}, errors=1).claim("a", "t2").ack("a", "t2")

    findings = story.check([ROW])

    assert dict(findings.violations) == {}
    assert (findings.wound_up, findings.wound_up_amid_errors) == (0, 1)


def test_what_a_cancelled_stream_finished_and_did_not_ack_is_reported(story: Story) -> None:
    story.push().claim("b", "t1", loop="stream", lease=10).tell("b", Event.ACKING, tokens=["t1"])
    story.wind_up("b", finished=["t1"]).claim("a", "t2", attempts=2).ack("a", "t2")

    findings = story.check(
        [Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="a#1")]
    )

    assert dict(findings.violations).keys() == {"finished and not acked"}


def test_what_a_cancelled_stream_finished_and_lost_is_not_reported(story: Story) -> None:
    story.push().claim("b", "t1", loop="stream", lease=1).tell("b", Event.ACKING, tokens=["t1"])
    story.claim("a", "t2", attempts=2).ack("a", "t2").wind_up("b", finished=["t1"])

    findings = story.check(
        [Row(id=1, unique_key="k", status="consumed", attempts=2, consumed_by="a#1")]
    )

    assert dict(findings.violations) == {}


def dead(**options: Any) -> Row:
    values = {"status": "available", "queue": "torture.dead", "attempts": 2, "max_attempts": 2}
    return Row(**{"id": 1, "unique_key": POISON, "consumed_by": None, **values, **options})


def test_poison_that_is_a_dead_letter_is_not_reported(story: Story) -> None:
    story.push(POISON).claim("a", "t1", lease=10).fail("a", "t1")
    story.claim("b", "t2", attempts=2, lease=10).fail("b", "t2")

    findings = story.check([dead(failures=[{"attempt": 1}, {"attempt": 2}])])

    assert dict(findings.violations) == {}
    assert (findings.poison, findings.dead_letters) == (1, 1)
    assert (findings.failed, findings.rests) == (2, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "torture"},
        {"status": "consumed", "consumed_by": "a#1"},
        {"attempts": 1},
    ],
)
def test_poison_that_is_no_dead_letter_is_reported(story: Story, options: dict[str, Any]) -> None:
    findings = story.push(POISON).check([dead(**options)])

    assert findings.count("poison") == 1


def test_an_effect_of_poison_is_reported(story: Story) -> None:
    findings = story.push(POISON).check([dead()], [Effect(1, "a#1")])

    assert findings.count("effect") == 1


def test_a_good_message_that_is_a_dead_letter_is_reported(story: Story) -> None:
    findings = story.push().check([dead(unique_key="k")])

    assert findings.count("not consumed") == 1


def test_an_attempt_that_failed_twice_is_reported(story: Story) -> None:
    findings = story.push(POISON).check([dead(failures=[{"attempt": 1}, {"attempt": 1}])])

    assert findings.count("counted twice") == 1


def test_more_attempts_than_allowed_are_reported(story: Story) -> None:
    findings = story.push(POISON).check([dead(attempts=3)])

    assert findings.count("too many attempts") == 1


def test_a_claim_before_the_pause_is_over_is_reported(story: Story) -> None:
    story.push(POISON).claim("a", "t1", lease=10).fail("a", "t1")
    story.at_once().claim("b", "t2", attempts=2)

    findings = story.check([dead()])

    assert dict(findings.violations).keys() == {"rested too little"}


def test_a_pause_that_began_before_is_not_judged(story: Story) -> None:
    story.push(POISON).claim("a", "t1", lease=1).fail("a", "t1")
    story.at_once().claim("b", "t2", attempts=2)

    findings = story.check([dead()])

    assert dict(findings.violations) == {}
    assert findings.rests == 0


def test_an_unexpected_error_is_reported(story: Story) -> None:
    story.push().claim("a", "t1").ack("a", "t1").tell("a", Event.UNEXPECTED, error="TypeError")

    findings = story.check([ROW])

    assert findings.count("unexpected") == 1


def test_the_unfinished_last_line_of_a_killed_worker_is_left_out(
    story: Story, tmp_path: Path
) -> None:
    story.push().claim("a", "t1").ack("a", "t1")
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"event": "clai')

    assert dict(story.check([ROW]).violations) == {}
