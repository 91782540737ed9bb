"""A primary is killed and its standby promoted: what is kept, and what is not.

With synchronous replication a confirmed ack is on both servers. With asynchronous it can
be on the lost one alone, and the message comes back: no queue in the database can prevent that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.eventually import until
from tests.replication import Pair, replicated
from tests.torture import checker
from tests.torture.consumer import QUEUE, RETRY
from tests.torture.crew import Crew
from tests.torture.logs import gather
from tests.torture.workers import Role
from xclaim import Queue, Status, create_engine
from xclaim.operations import migrate

pytestmark = pytest.mark.slow


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated() as pair:
        yield pair


def test_with_a_synchronous_standby_a_failover_loses_nothing_and_doubles_nothing(
    pair: Pair, tmp_path: Path
) -> None:
    migrate.upgrade(pair.url)
    pair.primary.execute(checker.EFFECTS)
    pair.make_synchronous()
    crew = Crew(tmp_path, [pair.url], Random(1))  # noqa: S311  (which worker is which)
    try:
        crew.hire(Role.CONSUMER, 4, seed=1)
        crew.hire(Role.PRODUCER, 1, seed=1, messages_per_second=300)
        with Queue(QUEUE, pair.url) as queue:
            until(lambda: queue.counts().consumed > 200)

        pair.primary.kill()
        pair.promote()

        with Queue(QUEUE, pair.url, retry=RETRY) as queue:
            consumed = queue.counts().consumed
            until(lambda: queue.counts().consumed > consumed + 200)
            crew.dismiss(Role.PRODUCER)
            until(lambda: is_drained(queue))
            crew.dismiss(Role.CONSUMER)
    finally:
        crew.kill_all()
    findings = check(pair.url, tmp_path)
    assert dict(findings.violations) == {}
    assert findings.acks > 300
    assert crew.crashes == []


def test_with_an_asynchronous_standby_a_confirmed_ack_may_be_undone_by_a_failover(
    pair: Pair,
) -> None:
    migrate.upgrade(pair.url)
    with Queue("orders", pair.url) as queue:
        pushed = queue.push({"n": 1})
        pair.catch_up()
        pair.stop_receiving()
        claimed = queue.claim()
        assert claimed is not None
        queue.ack(claimed)  # confirmed, by the primary alone

    pair.primary.kill()
    pair.promote()

    with Queue("orders", pair.url) as queue:
        found = queue.get(pushed.id)
        again = queue.claim()
        assert found is not None
        assert again is not None
        queue.ack(again)
    assert found.status is Status.AVAILABLE
    assert again.message.id == claimed.message.id  # consumed twice


def is_drained(queue: Queue) -> bool:
    queue.expire()
    counts = queue.counts()
    time.sleep(0.1)  # between two looks
    return counts.available + counts.delayed + counts.claimed == 0


def check(url: str, logs: Path) -> checker.Findings:
    engine = create_engine(url)
    try:
        return checker.check(gather(logs), *checker.read_table(engine))
    finally:
        engine.dispose()
