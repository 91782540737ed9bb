"""Compare what the workers believe with what the table says.

The order of a message's claims is that of their attempts: each claim counts one, and what a stream
hands back uncounted was never given to a worker and so is in no log.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

from sqlalchemy import Engine, text

from tests.torture.consumer import QUEUE, RETRY
from tests.torture.logs import Beliefs, Event, Held
from tests.torture.payloads import is_poison

TRANSACT = "transact"  # how the names of the loops begin whose messages have an effect
EFFECTS = "CREATE TABLE effects (message_id bigint NOT NULL, claimed_by text NOT NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the table says of a message."""

    id: int
    unique_key: str
    status: str
    attempts: int
    consumed_by: str | None
    queue: str = QUEUE
    max_attempts: int | None = None
    failures: Sequence[Mapping[str, Any]] | None = None

    @property
    def is_poison(self) -> bool:
        """Whether the work on it always fails."""
        return is_poison(self.unique_key)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a worker wrote in the transaction of its ack."""

    message_id: int
    claimed_by: str


@dataclass(slots=True)
class Findings:
    """What the comparison has shown; ``violations`` by kind, each named in words."""

    messages: int = 0
    pushes_unknown: Counter[str] = field(default_factory=Counter)
    claims: int = 0
    claims_lost: int = 0
    acks: int = 0
    acks_unknown: Counter[str] = field(default_factory=Counter)
    consumed_by_loop: Counter[str] = field(default_factory=Counter)
    poison: int = 0
    dead_letters: int = 0
    failed: int = 0  # attempts, of which the workers know
    rests: int = 0  # pauses, judged
    effects: int = 0
    wound_up: int = 0  # turns that were cut short, judged
    wound_up_amid_errors: int = 0  # and not judged
    finished: int = 0  # messages of streams that were cut short
    violations: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def count(self, kind: str) -> int:
        return len(self.violations.get(kind, ()))


def read_table(engine: Engine) -> tuple[list[Row], list[Effect]]:
    """Return the messages and the effects."""
    names = ", ".join(field.name for field in fields(Row))
    messages = f"SELECT {names} FROM xclaim_message"
    with engine.connect() as connection:
        rows = [Row(**row._mapping) for row in connection.execute(text(messages))]
        effects = connection.execute(text("SELECT message_id, claimed_by FROM effects"))
        return rows, [Effect(*effect) for effect in effects]


def check(beliefs: Beliefs, rows: Sequence[Row], effects: Iterable[Effect]) -> Findings:
    """Return what is wrong, and the numbers of what is right."""
    findings = Findings(messages=len(rows), claims=len(beliefs.claims))
    for violation in beliefs.violations:
        findings.violations["unexpected"].append(violation)
    claims_of: dict[int, list[Held]] = defaultdict(list)
    for held in beliefs.claims.values():
        claims_of[held.message_id].append(held)
    effects_of: dict[int, list[str]] = defaultdict(list)
    for effect in effects:
        effects_of[effect.message_id].append(effect.claimed_by)

    _check_pushes(findings, beliefs, rows)
    known = {row.id for row in rows}
    for id_ in sorted(claims_of.keys() - known):
        findings.violations["lost"].append(f"message {id_} was claimed and is not in the table")
    for id_ in sorted(effects_of.keys() - known):
        findings.violations["effect"].append(f"message {id_} has an effect and is not in the table")
    for row in rows:
        _check_order(findings, row, claims_of[row.id])
        _check_attempts(findings, row)
        _check_rests(findings, row, claims_of[row.id])
        _check_outcomes(findings, row, claims_of[row.id])
        _check_consumption(findings, row, claims_of[row.id], effects_of[row.id])
    _check_winding_up(findings, beliefs, {row.id: row for row in rows})
    findings.effects = sum(map(len, effects_of.values()))
    return findings


def _check_pushes(findings: Findings, beliefs: Beliefs, rows: Sequence[Row]) -> None:
    ids: dict[str, int] = {}
    for row in rows:
        if row.unique_key in ids:
            findings.violations["duplicate"].append(f"key {row.unique_key} is there twice")
        if row.unique_key not in beliefs.pushing:
            findings.violations["unexpected"].append(f"nobody has pushed key {row.unique_key}")
        ids[row.unique_key] = row.id
    for key, id_ in beliefs.pushed.items():
        if ids.get(key) != id_:
            findings.violations["lost"].append(
                f"key {key} was pushed as message {id_}, the table has {ids.get(key)}"
            )
    for key in beliefs.pushing - beliefs.pushed.keys():
        findings.pushes_unknown["is there" if key in ids else "is not there"] += 1


def _check_order(findings: Findings, row: Row, claims: list[Held]) -> None:
    """One claim after the other, and each for as long as its lease says."""
    claims.sort(key=lambda held: held.attempts)
    for earlier, later in pairwise(claims):
        if earlier.attempts == later.attempts:
            findings.violations["not exclusive"].append(
                f"message {row.id}: attempt {later.attempts} is {earlier.claimed_by}'s "
                f"and {later.claimed_by}'s"
            )
        held_until = earlier.leased_until
        if earlier.given_up_at is not None:
            held_until = min(held_until, earlier.given_up_at)
        if later.claimed_at < held_until:
            findings.violations["not exclusive"].append(
                f"message {row.id}: {later.claimed_by} had it {held_until - later.claimed_at:.3f} s"
                f" before the lease of {earlier.claimed_by} ended"
            )


def _check_attempts(findings: Findings, row: Row) -> None:
    """No attempt has failed twice, and there are no more of them than allowed."""
    failed = [each["attempt"] for each in row.failures or ()]
    is_each_once = all(earlier < later for earlier, later in pairwise(failed))
    if not is_each_once or any(attempt > row.attempts for attempt in failed):
        findings.violations["counted twice"].append(
            f"message {row.id}, with {row.attempts} attempts: {failed} have failed"
        )
    if row.max_attempts is not None and row.attempts > row.max_attempts:
        findings.violations["too many attempts"].append(
            f"message {row.id} had {row.attempts} attempts, not {row.max_attempts}"
        )


def _check_rests(findings: Findings, row: Row, claims: Sequence[Held]) -> None:
    """What was released with an error, in time, was not claimed again before its pause was over.

    Of two failed attempts in a row only: a message that was not is claimed at once.
    """
    findings.failed += sum(held.failed_at is not None for held in claims)
    for earlier, later in pairwise(claims):
        failing_at, failed_at = earlier.failing_at, earlier.failed_at
        if failing_at is None or failed_at is None or failed_at > earlier.leased_until:
            continue  # or another had it when it was released
        findings.rests += 1
        rested = later.claimed_at - failing_at
        if rested < _shortest_pause(earlier.attempts):
            findings.violations["rested too little"].append(
                f"message {row.id}: {later.claimed_by} had it {rested:.3f} s after attempt "
                f"{earlier.attempts} had failed"
            )


def _shortest_pause(attempts: int) -> float:
    pauses = RETRY.pauses()
    return pauses[min(attempts, len(pauses)) - 1] * (1 - RETRY.jitter)


def _check_outcomes(findings: Findings, row: Row, claims: Sequence[Held]) -> None:
    """Each belief of a worker against the row; an unknown ack is looked up there."""
    acked = [held for held in claims if held.outcome is Event.ACKED]
    findings.acks += len(acked)
    findings.claims_lost += sum(held.outcome is Event.LOST for held in claims)
    if len(acked) > 1:
        names = " and ".join(held.claimed_by for held in acked)
        findings.violations["duplicate"].append(f"message {row.id} was acked by {names}")
    for held in claims:
        consumed = _is_consumed_by(row, held)
        if held.outcome is Event.ACKED and not consumed:
            findings.violations["lost ack"].append(
                f"message {row.id}: {held.claimed_by} acked attempt {held.attempts}, the table "
                f"says {row.status}, {row.consumed_by}, attempt {row.attempts}"
            )
        if held.outcome is Event.LOST and consumed:
            findings.violations["refused ack"].append(
                f"message {row.id}: {held.claimed_by} was told its claim is lost, and has acked it"
            )
        if held.outcome is None and held.is_to_be_acked:
            findings.acks_unknown["was acked" if consumed else "was not acked"] += 1


def _check_consumption(
    findings: Findings, row: Row, claims: Sequence[Held], effects: Sequence[str]
) -> None:
    """Consumed, by the last of those who wanted to, and with one effect if by transact."""
    if row.is_poison:
        _check_poison(findings, row, effects)
        return
    if row.status != "consumed":
        findings.violations["not consumed"].append(f"message {row.id} is {row.status}")
    consumers = [held for held in claims if _is_consumed_by(row, held)]
    if row.status == "consumed" and not any(held.is_to_be_acked for held in consumers):
        findings.violations["unexpected"].append(
            f"message {row.id}: {row.consumed_by} has not asked for the ack the table says it made"
        )
    if any(held.attempts > row.attempts for held in claims):
        findings.violations["stale ack"].append(
            f"message {row.id} was consumed by attempt {row.attempts}, and claimed again before"
        )
    loop = consumers[0].loop if consumers else "none"
    findings.consumed_by_loop[loop] += 1
    expected = [row.consumed_by] if loop.startswith(TRANSACT) else []
    if list(effects) != expected:
        kind = "duplicate" if len(effects) > 1 else "effect"
        findings.violations[kind].append(
            f"message {row.id}, consumed in {loop}, has the effects {list(effects)}, not {expected}"
        )


def _check_poison(findings: Findings, row: Row, effects: Sequence[str]) -> None:
    """Whoever had it has failed: after all its attempts it is a dead letter, without an effect."""
    findings.poison += 1
    is_dead = row.status == "available" and row.queue == f"{QUEUE}.dead"
    findings.dead_letters += is_dead
    if not is_dead or row.attempts != row.max_attempts:
        findings.violations["poison"].append(
            f"message {row.id} always fails and is {row.status} in {row.queue}, after "
            f"{row.attempts} of {row.max_attempts} attempts"
        )
    if effects:
        findings.violations["effect"].append(
            f"message {row.id} always fails and has the effects {list(effects)}"
        )


def _check_winding_up(findings: Findings, beliefs: Beliefs, rows: Mapping[int, Row]) -> None:
    """Who was cancelled or interrupted has left nothing claimed, and nothing finished unacked."""
    for wound_up in beliefs.wound_up:
        if wound_up.errors:  # a claim whose answer was lost is nobody's to give back
            findings.wound_up_amid_errors += 1
            continue
        findings.wound_up += 1
        for token, id_ in wound_up.left.items():
            if token not in wound_up.held:
                findings.violations["left claimed"].append(
                    f"message {id_} is claimed still, though {wound_up.worker} has wound up"
                )
        for held in (beliefs.claims[token] for token in wound_up.finished):
            if held.message_id in rows:
                _check_finished(findings, rows[held.message_id], held, wound_up.at)


def _check_finished(findings: Findings, row: Row, held: Held, wound_up_at: float) -> None:
    findings.finished += 1
    is_lost = held.outcome is Event.LOST or wound_up_at > held.leased_until
    if not is_lost and not _is_consumed_by(row, held):
        findings.violations["finished and not acked"].append(
            f"message {row.id}: the stream of {held.claimed_by} had finished attempt "
            f"{held.attempts} when it was cut short, the table says {row.status}, "
            f"{row.consumed_by}, attempt {row.attempts}"
        )


def _is_consumed_by(row: Row, held: Held) -> bool:
    return row.consumed_by == held.claimed_by and row.attempts == held.attempts
