"""The promises that are checked, by name."""

from __future__ import annotations

EXCLUSIVE = "at most one live claim per message"
FENCED = "only who holds a claim settles it"
HONOURED = "who holds a claim can settle it"
LEASED = "a claim is taken away only when its lease ran out"
CONSUMED_ONCE = "a message is consumed at most once"
KEPT = "pushed = available + claimed + consumed + pruned"
COUNTED = "attempts are the committed claims, and no more than allowed"
PUSHED_ONCE = "one unique key, one message"
ATOMIC = "a crash, and a verb that raised, leave nothing behind"
EXPLAINED = "the table is what the committed verbs make of it"
FOUND = "a verb that is alone finds what there is"
PROMISED = "no verb raises anything but the errors it promises"
RESTED = "what failed cannot be claimed before its pause is over, unless somebody says so"
BURIED = "who has had all attempts, and nobody else, is a dead letter; its queue never has it again"
UNCOUNTED = "what is handed back uncounted, or without an error, has not failed"
REMEMBERED = "the last failures are kept, in their order"
WAITING = "claim, expire and redrive wait for nobody"
ONE_TURN = "at most one message of a key can be claimed, or is"
NOT_STUCK = "a line has somebody with the turn, or one that is owed to it"
IN_ORDER = "a push that begins after the commit of another is not claimed before it"
LIMITED = "no more is claimed at once than the limit of the queue lets"
RATED = "no more claims begin in a time than the rate of the queue lets"
ROOM = "a claim within limits takes what there is room for"
NO_DEADLOCK = "no deadlock"
AS_MODELLED = "the table is what the model says"


class BrokenPromiseError(AssertionError):
    """A promise does not hold."""

    def __init__(self, promise: str, detail: object) -> None:
        self.promise = promise
        super().__init__(f"{promise}: {detail}")


def require(condition: object, promise: str, detail: object) -> None:
    """Raise BrokenPromiseError unless the condition holds."""
    if not condition:
        raise BrokenPromiseError(promise, detail)
