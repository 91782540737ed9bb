"""The runner of a queue that is split: what is above a runner is the same for a queue in parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim import verbs
from xclaim.claims import Claim
from xclaim.connections.runner import Runner, Wake
from xclaim.connections.sessions import OrmSession
from xclaim.queues.parts import Parts
from xclaim.retry import Retry
from xclaim.verb import Over, Verb

T = TypeVar("T")


class SplitRunner(Runner):
    """Runs the verbs of a queue in parts, each on an engine in autocommit."""

    def __init__(self, parts: Parts) -> None:
        first = next(iter(parts)).runner
        self._parts = parts
        super().__init__(first.bind, first.concurrency, retry=first.retry, payloads=first.payloads)

    @property
    def log_level(self) -> int:
        """Lines of the log that have a lower level are raised to it."""
        return self._log_level

    @log_level.setter
    def log_level(self, level: int) -> None:
        self._log_level = level
        for part in self._parts:
            part.runner.log_level = level

    @property
    def engines(self) -> Sequence[Engine]:
        """Those of all places."""
        return list(dict.fromkeys(each for part in self._parts for each in part.runner.engines))

    def bind_of(self, claim: Claim) -> Engine | Connection | OrmSession:
        """Return what the claim was made on: the engine of its place."""
        return self._parts.of(claim).runner.bind

    def wakes(self, _: str) -> Sequence[Wake]:
        """Return where pushes wake who waits: to each part, in its place."""
        return [wake for part in self._parts for wake in part.runner.wakes(part.name)]

    def retrying(self, retry: Retry | None) -> Runner:
        """Return the same runner with another Retry, if one is given."""
        if retry is None or retry is self.retry:
            return self
        other = SplitRunner(self._parts.retrying(retry))
        other.log_level = self.log_level
        return other

    def run_once(self, verb: Verb[T], *arguments: Any, **options: Any) -> T:
        """Run a verb within a call that somebody else finishes."""
        result: Any = None
        match verb.over:
            case Over.CLAIM:
                (claim,) = arguments
                result = self._parts.of(claim).runner.run_once(verb, claim, **options)
            case Over.CLAIMS:
                found = self._settle(verb, *arguments, **options)
                result = found if verb.reads else None
            case Over.QUEUE_AND_CLAIMS:  # of which the next claims may be in another place
                _, claims, limit = arguments
                self._settle(verbs.ACK_MANY, claims)
                claiming = verbs.POLL if options.pop("waits") else verbs.DRAIN
                result = self._parts.run(claiming, limit, **options)
            case Over.QUEUE:
                _, *given = arguments
                result = self._parts.run(verb, *given, **options)
        return result  # type: ignore[no-any-return]

    def _settle(self, verb: Verb[Any], claims: Iterable[Claim], **options: Any) -> list[Any]:
        return self._parts.on_claims(verb, claims, options)
