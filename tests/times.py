"""When a message can be claimed, for tests of messages that stand in no line."""

from datetime import datetime

from xclaim import Message


def available_at(message: Message) -> datetime:
    assert message.available_at is not None

    return message.available_at
