"""Two or three sessions on one table, in every order of their steps and with every end.

Each session has two steps: its verb, and then a commit or a crash. An interleaving is run from
the beginning by the choices made so far and then by the first choice there is; the next one differs
in the last choice that had an alternative. So each order is run once, and a session that waits for
a lock has no choices until another one has let go of it. Of sessions that do the same the first one
begins first: the other way round it is the same order.

Of two that wait for the same row, PostgreSQL nearly always lets the first one go on: they look for
the new version of the row at the same time. Where the second overtook it, the interleaving is
judged as any other, but run again and not counted, so that the count is the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations_with_replacement

from tests.model import endings, slots, turns
from tests.model.invariants import Done, Ledger
from tests.model.promises import NO_DEADLOCK, WAITING, BrokenPromiseError, require
from tests.model.scenes import FAILING, VARIANTS, VERBS, Role, Verb
from tests.model.slots import SlotLedger
from tests.model.stages import Setting, Stage
from tests.model.turns import TurnLedger

Choice = tuple[int, str]  # a session, and its step

_ALL_VERBS: Mapping[str, Verb] = {
    **VERBS,
    **VARIANTS,
    **FAILING,
    **turns.VERBS,
    **slots.VERBS,
    **slots.GATED,
}
_MOST_OVERTAKEN = 500
_NEVER_WAIT = {
    "claim",
    "take back",
    "expire",
    "expire slowly",
    "expire for good",
    "redrive",
    *turns.NEVER_WAIT,
    *slots.NEVER_WAIT,
}
_OF_PRODUCERS_AND_CLAIMS = {"push behind", "push many behind", "consume", "claim in turn"}
PAIRS = list(combinations_with_replacement(VERBS, 2))
VARIANT_PAIRS = [
    ("push", "push another"),
    ("push another", "push another"),
    *[("take back", verb) for verb in (*VERBS, "take back")],
]
FAILING_PAIRS = [(failing, verb) for failing in FAILING for verb in (*VERBS, "take back")]
TWO_FAILING = list(combinations_with_replacement(FAILING, 2))
TRIPLES = list(combinations_with_replacement(VERBS, 3))
TURN_PAIRS = list(combinations_with_replacement(turns.VERBS, 2))
# A producer is at work while the turn is passed on, and again.
TURN_TRIPLES = [
    ("push behind", *others) for others in combinations_with_replacement(turns.VERBS, 2)
]


SLOT_PAIRS = list(combinations_with_replacement(slots.VERBS, 2))
SLOT_TRIPLES = [
    ("claim within", *others) for others in combinations_with_replacement(slots.VERBS, 2)
]
_Ledger = Ledger | TurnLedger | SlotLedger


@dataclass(slots=True, kw_only=True)
class _Part:
    """A session's part in the interleaving."""

    verb: str
    role: Role
    is_begun: bool = False
    was_alone: bool = False
    done: Done | None = None
    is_ended: bool = False


@dataclass(slots=True)
class Interleaving:
    """One order of the steps."""

    stage: Stage
    setting: Setting
    verbs: Sequence[str]
    taken: list[Choice] = field(default_factory=list)
    offered: list[list[Choice]] = field(default_factory=list)
    is_ordered: bool = False  # the sessions meet at an ordering key
    settled: set[tuple[Choice, ...]] = field(default_factory=set)  # steps after which nobody waited
    _parts: list[_Part] = field(default_factory=list)
    _waited: list[int] = field(default_factory=list)  # the sessions, the first one first
    was_overtaken: bool = False

    def follow(self, path: Sequence[Choice]) -> None:
        """Run the choices of the path, then the first ones. Raise BrokenPromiseError."""
        self.stage.reset(self.setting)
        self._parts = [
            _Part(verb=verb, role=Role(name=f"session {number}", claim=self.setting.claim))
            for number, verb in enumerate(self.verbs)
        ]
        ledger = self._ledger()
        while choices := self._choices():
            choice = choices[0]
            if len(self.taken) < len(path) and not self.was_overtaken:
                # Two that go on at once may meet again: who is first then, no step decides.
                self.was_overtaken = path[len(self.taken)] not in choices
                choice = choice if self.was_overtaken else path[len(self.taken)]
            self.taken.append(choice)
            self.offered.append(choices)
            self._step(choice, ledger)
            self._note(ledger)
        waiting = [part.verb for part in self._parts if not part.is_ended]
        require(not waiting, NO_DEADLOCK, f"{waiting} wait for each other")
        self._finish(ledger)
        waited = [self.verbs[number] for number in self._waited]
        require(not _NEVER_WAIT.intersection(waited), WAITING, waited)
        if self._is_ack_beside_producers():
            require(not turns.ACKS.intersection(waited), WAITING, waited)

    def _ledger(self) -> _Ledger:
        table = self.stage.read()
        if self.setting.name in slots.SCENES:
            return SlotLedger(table, self.stage.observer)
        return TurnLedger(table, self.stage.observer) if self.is_ordered else Ledger(table)

    def _finish(self, ledger: _Ledger) -> None:
        if isinstance(ledger, Ledger):  # which asks the database for nothing
            ledger.finish()
            return
        end = (self.setting.name, endings.left(self.stage.observer, ledger))
        if self.stage.judges_each_end or end not in self.stage.judged:
            ledger.finish()
            self.stage.judged.add(end)

    def _is_ack_beside_producers(self) -> bool:
        others = [verb for verb in self.verbs if verb not in turns.ACKS]
        is_one_ack = len(others) == len(self.verbs) - 1
        return is_one_ack and _OF_PRODUCERS_AND_CLAIMS.issuperset(others)

    def next_path(self) -> list[Choice] | None:
        """Return the path to the next interleaving; None after the last."""
        taken, offered = list(self.taken), list(self.offered)
        while taken:
            choice, choices = taken.pop(), offered.pop()
            position = choices.index(choice) + 1
            if position < len(choices):
                return [*taken, choices[position]]
        return None

    def _choices(self) -> list[Choice]:
        is_open = any(part.done and not part.is_ended for part in self._parts)
        choices: list[Choice] = []
        for number, part in enumerate(self._parts):
            if part.done is not None and not part.is_ended:
                choices += [(number, "commit"), (number, "crash")]
            elif not part.is_begun and not (is_open and self.stage.is_serial):
                choices += [] if self._has_a_twin_before(number) else [(number, part.verb)]
        return choices

    def _has_a_twin_before(self, number: int) -> bool:
        verb = self._parts[number].verb
        return any(each.verb == verb and not each.is_begun for each in self._parts[:number])

    def _step(self, choice: Choice, ledger: _Ledger) -> None:
        number, step = choice
        part = self._parts[number]
        if step == part.verb:
            part.was_alone = not any(each.is_begun and not each.is_ended for each in self._parts)
            part.is_begun = True
            ledger.begin(part.role)
            self.stage.start(number, partial(_run, _ALL_VERBS[part.verb], part.role))
            self._settle()
            return
        part.is_ended = True
        assert part.done is not None
        if step == "commit":
            self.stage.commit(number)
            self._settle()
            ledger.commit(part.done, self.stage.read())
        else:
            self.stage.crash(number)
            self._settle()
            ledger.crash(self.stage.read())

    def _settle(self) -> None:
        steps = tuple(self.taken)
        if self.stage.settle(expects_all=steps in self.settled):
            self.settled.add(steps)

    def _note(self, ledger: _Ledger) -> None:
        for number, part in enumerate(self._parts):
            if not part.is_begun or part.done is not None:
                continue
            outcome = self.stage.outcome(number)
            if outcome is None:
                self._waited += [] if number in self._waited else [number]
                continue
            part.done = Done(verb=part.verb, role=part.role, outcome=outcome)
            ledger.raised(part.done)
            if part.was_alone:
                ledger.alone(part.done)
        gone_on = [self._parts[number].done is not None for number in self._waited]
        self.was_overtaken |= gone_on != sorted(gone_on, reverse=True)


def explore(stage: Stage, scene: str, verbs: Sequence[str]) -> int:
    """Run every interleaving of these verbs in this scene, and return how many there are.

    Raise BrokenPromiseError, with the order of the steps, for the first that breaks a promise.
    """
    setting = stage.setting(scene)
    path: list[Choice] | None = []
    count = overtaken = 0
    settled: set[tuple[Choice, ...]] = set()
    while path is not None:
        is_ordered = scene in turns.SCENES
        interleaving = Interleaving(stage, setting, verbs, is_ordered=is_ordered, settled=settled)
        try:
            interleaving.follow(path)
        except BaseException as error:
            stage.abandon()
            if isinstance(error, BrokenPromiseError):
                error.add_note(f"in the scene {scene!r}: {_shown(interleaving.taken)}")
            raise
        if interleaving.was_overtaken:
            overtaken += 1
            assert overtaken < _MOST_OVERTAKEN, (
                f"the same steps lead elsewhere, again and again: {verbs}"
            )
            continue
        path = interleaving.next_path()
        count += 1
    return count


def _run(verb: Verb, role: Role, connection: object) -> object:
    return verb(connection, role)  # type: ignore[arg-type]


def _shown(choices: Sequence[Choice]) -> str:
    return ", ".join(f"{number}: {step}" for number, step in choices)
