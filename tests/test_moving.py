"""What the guides `moving-from-*` tell to save runs as it stands, beside what one moves from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pages import ROOT, read_page
from xclaim import Queue

RUN_HERE = {
    "moving-from-celery.md": {"tasks.py", "bridge.py"},
    "moving-from-redis.md": {"before.py", "bridge.py"},
    "moving-from-sqs.md": {"before.py", "bridge.py"},
}


def saved(page: str, name: str) -> dict[str, Any]:
    """Run the file that a page tells to save, and return its names."""
    assert name in RUN_HERE[page]
    blocks = read_page(ROOT / "docs" / "guides" / page).blocks
    (code,) = (block.code for block in blocks if block.file == name)
    names: dict[str, Any] = {"__name__": name.removesuffix(".py")}
    exec(compile(code, f"{page}:{name}", "exec", dont_inherit=True), names)  # noqa: S102  (our own)
    return names


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with moto.mock_aws():
        client = boto3.client("sqs")
        client.create_queue(QueueName="orders", Attributes={"ReceiveMessageWaitTimeSeconds": "0"})
        yield client


def test_what_the_page_has_for_sqs_works(sqs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    saved("moving-from-sqs.md", "before.py")

    assert capsys.readouterr().out == "packed the teapot\n"
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_what_sqs_delivers_again_is_pushed_once(sqs: Any, sqlite_url: str) -> None:
    carry_over = saved("moving-from-sqs.md", "bridge.py")["carry_over"]
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"number": number}))

    with Queue("orders", sqlite_url) as orders:
        with pytest.raises(ConnectionError):
            carry_over(DyingBeforeDeletion(sqs), url, orders)
        carried = carry_over(sqs, url, orders)

        numbers = [message.payload["number"] for message in orders.peek(9)]
    assert carried == 3
    assert sorted(numbers) == [0, 1, 2]
    assert "Messages" not in sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)


class DyingBeforeDeletion:
    """A client whose messages are visible again at once, and that dies before it deletes one."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def receive_message(self, **options: Any) -> Any:
        return self._client.receive_message(**options, VisibilityTimeout=0)

    def delete_message(self, **_: Any) -> None:
        raise ConnectionError


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Any:
    fakeredis = pytest.importorskip("fakeredis")
    client = fakeredis.FakeRedis(decode_responses=True)
    monkeypatch.setattr("redis.Redis", lambda **_: client)
    return client


def test_what_the_page_has_for_redis_works(redis: Any, capsys: pytest.CaptureFixture[str]) -> None:
    saved("moving-from-redis.md", "before.py")

    assert capsys.readouterr().out == "packed the teapot\n"
    assert redis.xpending("orders", "packers")["pending"] == 0


def test_an_entry_of_a_stream_that_is_read_again_is_pushed_once(
    redis: Any, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_stream = saved("moving-from-redis.md", "bridge.py")["carry_stream"]
    redis.xgroup_create("orders", "packers", id="0", mkstream=True)
    for number in range(3):
        redis.xadd("orders", {"number": number})

    with Queue("orders", sqlite_url) as orders:
        with monkeypatch.context() as dying, pytest.raises(ConnectionError):
            dying.setattr(redis, "xack", die)
            carry_stream(redis, orders)
        carried = carry_stream(redis, orders)

        numbers = [message.payload["number"] for message in orders.peek(9)]
    assert carried == 3
    assert sorted(numbers) == ["0", "1", "2"]
    assert redis.xpending("orders", "packers")["pending"] == 0


def test_an_item_of_a_list_is_carried_and_stays_until_it_is_pushed(
    redis: Any, sqlite_url: str
) -> None:
    carry_list = saved("moving-from-redis.md", "bridge.py")["carry_list"]
    redis.lpush("orders", json.dumps({"number": 7}))

    with Queue("orders", sqlite_url) as orders:
        carried = carry_list(redis, orders)

        assert [message.payload for message in orders.peek(9)] == [{"number": 7}]
    assert carried
    assert (redis.llen("orders"), redis.llen("orders:moving")) == (0, 0)


def die(*_: Any) -> None:
    raise ConnectionError


def test_what_the_page_has_for_celery_works(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("celery")

    saved("moving-from-celery.md", "tasks.py")["pack"].apply(({"item": "teapot"},)).get()

    assert capsys.readouterr().out == "packed the teapot\n"


def test_a_task_that_celery_delivers_again_is_pushed_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("celery")
    bridge = saved("moving-from-celery.md", "bridge.py")

    with Queue("orders", sqlite_url) as orders:
        monkeypatch.setitem(bridge["pack"].run.__globals__, "orders", orders)
        for _ in range(2):
            bridge["pack"].apply(({"item": "teapot"},), task_id="1f0c").get()

        assert [message.payload for message in orders.peek(9)] == [{"item": "teapot"}]
    assert bridge["pack"].name == "tasks.pack"
