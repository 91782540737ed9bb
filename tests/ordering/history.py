"""What the processes of a race have told, and what of it must not be.

A claim was certainly held from when its answer was there until its end was asked for, or, where
nobody asked, until its lease ran out, counted from before the claim. Two claims of one key that
overlap so were claimed at a time, unless they are of one batch; two claims of one message, with a
key or without, are so in any case. A message is passed over where another of its key was pushed
after the commit of its own push, and was certainly claimed before it was done; but not along with
it: then whoever had both could end them in any order. A dead letter may be passed, unless it holds
its line; with what holds its line nothing behind it is claimed together. Who asks for one message
by its id gets that one or none, and it has the turn of its key like any other that is claimed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TOLD_BY_PRODUCERS = {"pushed", "rolled back", "withdrawing"}


@dataclass(slots=True, kw_only=True)
class Held:
    """One claim. ``key``: of the line in which nobody else has one meanwhile.

    ``wanted``: the id of the message that was asked for.
    """

    message_id: int
    name: str
    queue: str
    key: str | None
    by: str
    from_: float
    until: float
    wanted: int | None = None
    how: str | None = None
    ending_at: float | None = None
    is_ended: bool = False

    @property
    def batch(self) -> tuple[str, float]:
        """What it was claimed together with."""
        return self.by, self.from_


@dataclass(slots=True, kw_only=True)
class Pushed:
    """One message that was certainly pushed."""

    id: int
    name: str
    key: str | None
    began: float
    committed: float

    @property
    def is_mortal(self) -> bool:
        """Whether it may become a dead letter that others pass: not one that holds its line."""
        return self.name.endswith("m")


@dataclass(slots=True)
class History:
    """All that was told. ``broken``: the promises that do not hold, in words."""

    pushed: dict[int, Pushed] = field(default_factory=dict)
    rolled_back: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    claims: dict[str, Held] = field(default_factory=dict)
    lost: int = 0
    unexpected: list[str] = field(default_factory=list)

    def broken(self) -> list[str]:
        """Return what must not be."""
        return [
            *self.unexpected,
            *self._overlaps(),
            *self._had_twice(),
            *self._had_behind_a_holder(),
            *self._not_wanted(),
            *self._acked_twice(),
            *self._passed_over(),
        ]

    def acks(self) -> list[Held]:
        """Return the claims whose ack was confirmed."""
        return [held for held in self.claims.values() if held.how == "ack" and held.is_ended]

    def _overlaps(self) -> Iterable[str]:
        claims_of: dict[str, list[Held]] = defaultdict(list)
        for held in self.claims.values():
            if held.key is not None:
                claims_of[held.key].append(held)
        for key, claims in claims_of.items():
            for one, other in _at_once(claims):
                if one.batch != other.batch:
                    yield f"{key}: {one} and {other} at once"

    def _had_twice(self) -> Iterable[str]:
        """Compare the claims of each message, in its queue and among the dead letters."""
        claims_of: dict[int, list[Held]] = defaultdict(list)
        for held in self.claims.values():
            claims_of[held.message_id].append(held)
        for id_, claims in claims_of.items():
            for one, other in _at_once(claims):
                yield f"message {id_} was had twice: {one} and {other}"

    def _had_behind_a_holder(self) -> Iterable[str]:
        names_of: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        for held in self.claims.values():
            if held.key is not None:
                names_of[*held.batch, held.key].append(held.name)
        return (
            f"{names} were claimed together, of which one holds its line"
            for names in names_of.values()
            if len(names) > 1 and any(name.endswith("h") for name in names)
        )

    def _not_wanted(self) -> Iterable[str]:
        return (
            f"message {held.message_id} was claimed where {held.wanted} was wanted"
            for held in self.claims.values()
            if held.wanted not in (None, held.message_id)
        )

    def _acked_twice(self) -> Iterable[str]:
        counts = Counter(held.message_id for held in self.acks())
        return (
            f"message {id_} was acked {count} times" for id_, count in counts.items() if count > 1
        )

    def _passed_over(self) -> Iterable[str]:
        """Sweep each key by the times of its pushes: what was committed before, was done before."""
        done_at = {held.message_id: held.ending_at or 0.0 for held in self.acks()}
        first_claimed: dict[int, Held] = {}
        for held in sorted(self.claims.values(), key=lambda held: held.from_, reverse=True):
            first_claimed[held.message_id] = held
        batches_of: dict[int, set[tuple[str, float]]] = defaultdict(set)
        for held in self.claims.values():
            batches_of[held.message_id].add(held.batch)
        for key, messages in self._pushed_by_key().items():
            certain = [each for each in messages if not each.is_mortal and each.id in done_at]
            certain.sort(key=lambda each: each.committed)
            latest, place = None, 0
            for message in sorted(messages, key=lambda each: each.began):
                while place < len(certain) and certain[place].committed < message.began:
                    candidate = certain[place]
                    if latest is None or done_at[candidate.id] > done_at[latest.id]:
                        latest = candidate
                    place += 1
                claim = first_claimed.get(message.id)
                if latest is None or claim is None or claim.batch in batches_of[latest.id]:
                    continue
                if claim.from_ < done_at[latest.id]:
                    yield f"{key}: {message} was claimed before {latest} was done: {claim}"

    def _pushed_by_key(self) -> dict[str, list[Pushed]]:
        messages_of: dict[str, list[Pushed]] = defaultdict(list)
        for pushed in self.pushed.values():
            if pushed.key is not None:
                messages_of[pushed.key].append(pushed)
        return messages_of


def _at_once(claims: Iterable[Held]) -> Iterable[tuple[Held, Held]]:
    """Yield each claim that began before an earlier one ended, with the longest of those."""
    longest = None
    for held in sorted(claims, key=lambda held: held.from_):
        if held.until <= held.from_:
            continue  # its lease was over when the answer came
        if longest is not None and held.from_ < longest.until:
            yield longest, held
        if longest is None or held.until > longest.until:
            longest = held


def read(folder: Path) -> History:
    """Read the logs of all processes."""
    history = History()
    for path in sorted(folder.glob("*.jsonl")):
        _read_one(history, path)
    return history


def _read_one(history: History, path: Path) -> None:
    began = 0.0
    for line in path.read_text().splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue  # it was killed while it wrote
        if said["event"] == "pushing":
            began = said["at"]
        elif said["event"] in _TOLD_BY_PRODUCERS:
            _note_push(history, said, began)
        else:
            _note_claim(history, said, path.stem)


def _note_push(history: History, said: dict[str, Any], began: float) -> None:
    if said["event"] == "withdrawing":
        history.withdrawn |= set(said["names"])
    elif said["event"] == "rolled back":
        history.rolled_back |= {name for name, _ in said["items"]}
    else:
        for (name, key), id_ in zip(said["items"], said["ids"], strict=True):
            history.pushed[id_] = Pushed(
                id=id_, name=name, key=key, began=began, committed=said["at"]
            )


def _note_claim(history: History, said: dict[str, Any], by: str) -> None:
    match said["event"]:
        case "claimed":
            for each in said["claims"]:
                history.claims[each["token"]] = Held(
                    message_id=each["id"],
                    name=each["name"],
                    queue=each["queue"],
                    key=each["key"],
                    by=by,
                    from_=said["at"],
                    until=said["asked_at"] + said["lease"],
                    wanted=said.get("wanted"),
                )
        case "ending":
            held = history.claims[said["token"]]
            held.how, held.ending_at = said["how"], said["at"]
            held.until = min(held.until, said["at"])
        case "ended":
            history.claims[said["token"]].is_ended = True
        case "lost":
            history.lost += 1
        case _:
            history.unexpected.append(f"{by}: {said['error']}")
