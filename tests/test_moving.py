"""The bridges of the guides `moving-from-*`, as they stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_readme import BLOCK
from xclaim import Queue

GUIDES = Path(__file__).parents[1] / "docs" / "guides"


def saved(page: str, name: str) -> dict[str, Any]:
    """Run the file that a page tells to save, and return its names."""
    (code,) = (
        body
        for _, language, _, body in BLOCK.findall((GUIDES / page).read_text())
        if language == "python" and body.startswith(f"# {name}\n")
    )
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
