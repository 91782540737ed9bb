"""Who has one receipt cannot make another one of it."""

from itertools import combinations

from xclaim import Claim, Queue, Ticket


def test_the_tokens_of_one_claim_share_nothing(queue: Queue) -> None:
    queue.push_many(range(20))

    tokens = [claim.token.hex for claim in queue.claim_many(20)]

    for one, other in combinations(tokens, 2):
        assert one[:8] != other[:8]
        assert one[8:16] != other[8:16]
        assert one[16:24] != other[16:24]
        assert one[24:] != other[24:]


def test_a_token_does_not_show_the_id(queue: Queue) -> None:
    queue.push_many(range(20))

    claims = queue.claim_many(20)

    assert not any(claim.token.hex.endswith(f"{claim.message.id:08x}") for claim in claims)


def test_the_tokens_of_tickets_and_streams_share_nothing_either(queue: Queue) -> None:
    queue.push_many(range(6))

    handed_on = queue.claim_many(3, claim_key="ticket")
    resumed = queue.resume(Ticket.of(handed_on), claim_key="mine")
    with queue.consume_many(3) as streamed:
        tokens = {_half(claim, half) for claim in [*resumed, *streamed] for half in (0, 1)}

    assert len(tokens) == 2 * 6


def test_a_message_that_is_claimed_again_has_another_token(queue: Queue) -> None:
    pushed = queue.push("once more")
    tokens = set()

    for _ in range(5):
        claim = queue.claim_message(pushed.id)
        assert claim is not None
        tokens.add(claim.token)
        queue.release(claim)

    assert len(tokens) == 5


def _half(claim: Claim, half: int) -> str:
    return claim.token.hex[16 * half : 16 * half + 16]
