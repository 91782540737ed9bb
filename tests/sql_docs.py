"""Write the SQL each database receives to docs/sql, for people to read and reviewers to diff.

Run `python -m tests.sql_docs` after changing a statement; a test compares.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from xclaim.sql import full_names, statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE, Dialect
from xclaim.sql.schema import message_table
from xclaim.sql.statements import (
    message_conditions,
    observing_claims,
    observing_closely,
    observing_flow,
    observing_glances,
    observing_letters,
    observing_messages,
    observing_parts,
    observing_queues,
    observing_work,
)
from xclaim.sql.statements.observing_walks import Due, Walk, Way

FULL_NAMES = """\
-- Each function, operator and type is sent by its full name: pg_catalog.count(*), pg_catalog.text,
-- a OPERATOR(pg_catalog.=) b. Here are the short ones, for people.
"""
FOLDER = Path(__file__).parents[1] / "docs" / "sql"
NAMES = (
    "push",
    "push_one",
    "push_once",
    "clashing_keys",
    "backlog",
    "set_backlog",
    "limited_backlogs",
    "claim",
    "claim_one",
    "limit",
    "limits",
    "add_slots",
    "vacancy",
    "take_back",
    "resume",
    "ack",
    "ack_many",
    "ack_reduced",
    "note_failure",
    "hand_back",
    "extend",
    "extend_many",
    "any_lapsed",
    "expire",
    "expire_others",
    "redrive",
    "prune",
    "redrivable",
    "prunable",
    "withdraw",
    "withdraw_by_id",
    "peek",
    "clock",
    "newest",
    "get",
    "get_many",
    "failures",
    "spent",
    "find",
    "counts",
    "failing_messages",
    "failing_queues",
    "is_known",
    "receipt",
    "queue_stats",
    "stuck_claims",
    "dead_letters",
    "stored_objects",
    "encrypted",
    "unencrypted",
    "re_encrypt",
)
_OF_OBSERVING = (
    observing_queues,
    observing_glances,
    observing_closely,
    observing_flow,
    observing_parts,
    observing_messages,
    observing_claims,
    observing_letters,
    observing_work,
)
# Of the read model, which the verbs do not import. Some are for one database.
OBSERVING = {
    "waiting_queues": (SQLITE,),
    "held_queues": (SQLITE,),
    "first_entries": (POSTGRESQL,),
    "first_claims": (POSTGRESQL,),
    "counted_entries": (POSTGRESQL,),
    "counted_claims": (POSTGRESQL,),
    "tried": (POSTGRESQL,),
    "tried_of_known": (POSTGRESQL,),
    "first_claimed": (POSTGRESQL,),
    "last_claims": (POSTGRESQL,),
    "last_claim": (SQLITE,),
    "last_died": (POSTGRESQL,),
    "consumed_queues": (POSTGRESQL, SQLITE),
    "paused_queues": (POSTGRESQL, SQLITE),
    "summaries": (POSTGRESQL,),
    "waits": (POSTGRESQL,),
    "waits_of_one_level": (POSTGRESQL,),
    "levels": (SQLITE,),
    "of_level": (SQLITE,),
    "of_rest": (SQLITE,),
    "claims_and_letters": (SQLITE,),
    "last_consumed": (POSTGRESQL, SQLITE),
    "parts": (POSTGRESQL,),
    "latest": (POSTGRESQL, SQLITE),
    "consumed_in_steps": (POSTGRESQL, SQLITE),
    "newest_pushed": (POSTGRESQL, SQLITE),
    "newest_dead": (POSTGRESQL, SQLITE),
    "available_range": (POSTGRESQL,),
    "delayed_range": (POSTGRESQL,),
    "claimed_range": (POSTGRESQL,),
}
_OF_SQLITE = ("push_one", "claim_this_one", "room", "due_slots", "take_slots")
_OF_POSTGRESQL = "claim_within"
LETTERS = statements.Letters(by_class=True, by_text=True, aged=True, by_id=True)
VARIANTS: dict[str, dict[str, Any]] = {
    "redrive, those with an error, of an age and with these ids": {"which": LETTERS},
    "holders": {"of_queue": False},
    "holders, of a queue": {"of_queue": True},
    "push, not all of it plain JSON": {"encoded": True},
    "push_one, not plain JSON": {"encoded": True},
    "push_once, not all of it plain JSON": {"encoded": True},
    "push_once, a batch under autocommit": {"whole": True},
    "prune, with a payload storage": {"objects": True},
    "push, where no limit is set": {"guarded": True},
    "push_once, where no limit is set": {"guarded": True},
    "backlog, with what stands in line": {"in_line": True},
    "push_once, by id": {"by_id": True},
    "candidates": {},
    "claim_within": {},
    "claim_within, a batch": {"limit": 100},
    "claim_within, one message": {"one": True},
    "claim_this_one": {},
    "room": {},
    "due_slots": {},
    "take_slots": {},
    "handed_on": {},
    "set_aside": {},
    "described": {},
    "prune_as_maintainer": {},
    "withdraw_as_maintainer": {},
    "withdraw_by_id_as_maintainer": {},
    "claim with a claim key": {"resumes": True},
    "claim of whole lines, a batch": {"whole_lines": True, "limit": 10},
    "claim on top": {"start": statements.Start.TOP},
    "claim lately": {"start": statements.Start.LATELY},
    "claim behind a position": {"start": statements.Start.POSITION},
    "claim behind a position, a batch": {"start": statements.Start.POSITION, "limit": 100},
    "ack_and_claim behind a position": {"start": statements.Start.POSITION, "acks_one": True},
    "ack_and_claim behind a position, a batch": {
        "start": statements.Start.POSITION,
        "limit": 100,
    },
    "release": {"delayed": False, "counted": True, "with_error": False},
    "release, after an error": {"delayed": False, "counted": True, "with_error": True},
    "release, after an error, with a delay": {
        "delayed": True,
        "counted": True,
        "with_error": True,
    },
    "release, not counted": {"delayed": False, "counted": False, "with_error": False},
}
_MAY = message_conditions.Readable()
_NEWEST = Way(walk=Walk.IDS)
_WAITING = Way(walk=Walk.WAITING, due=Due.NOW, is_begun=True)
_PAYLOAD = message_conditions.Condition(
    test=message_conditions.Trait.PAYLOAD, number=0, steps=2, kind="number"
)
_RUN = message_conditions.Condition(test=message_conditions.Trait.RUN, number=1)
_GROUPED = "search, of several parts of the index together"
OF_MESSAGES: dict[str, dict[str, Any]] = {
    "readable": {},
    "search, the newest by their payload": {
        "way": _NEWEST,
        "conditions": (_PAYLOAD,),
        "may": _MAY,
    },
    _GROUPED: {
        "way": Way(walk=Walk.WAITING, is_grouped=True),
        "conditions": (_RUN,),
        "may": _MAY,
    },
    "search, waiting and of an Airflow run": {
        "way": _WAITING,
        "conditions": (_RUN,),
        "may": _MAY,
    },
    "search_ids": {"way": _NEWEST, "conditions": (_RUN,), "may": _MAY},
    "looked_through": {"way": _WAITING},
    "counted_to": {"way": _WAITING},
    "next_queue": {"walk": Walk.HELD},
    "next_level": {},
    "keyed_ids": {},
    "beginnings": {},
    "look_at": {"may": _MAY},
    "document": {"name": "payload"},
    "place_of_payload": {},
    "held": {"is_of_queue": False, "is_begun": True},
    "letters_by_error": {"may": _MAY},
    "work": {
        "way": _NEWEST,
        "part": observing_work.Part(is_task=True, is_mapped=True),
        "may": _MAY,
    },
}
_OF_UNSENDABLE = ("candidates", "handed_on", "set_aside", "described")
_BREAKS = (
    "FROM ", "WHERE ", "SET ", "RETURNING ", "ORDER BY ", "LIMIT ", "UNION ALL", "ON CONFLICT",
)  # fmt: skip


def documents() -> dict[Path, str]:
    """Return the text of each file."""
    sqlite: Any = make_url("sqlite://").get_dialect()
    dialects: list[tuple[Dialect, Any]] = [
        (POSTGRESQL, full_names.dialect()),
        (SQLITE, sqlite(paramstyle="named")),
    ]
    return {
        FOLDER / f"{dialect.name}.sql": _document(dialect, compiler)
        for dialect, compiler in dialects
    }


def _document(dialect: Dialect, compiler: Any) -> str:
    header = f"-- What xclaim sends to {dialect.name}; written by `python -m tests.sql_docs`.\n"
    header += FULL_NAMES if dialect is POSTGRESQL else ""
    return header + "".join(
        f"\n-- {name}\n-- {_promise(build)}\n{_readable(statement, compiler)};\n"
        for name, build, statement in _statements(dialect)
    )


def _statements(dialect: Dialect) -> Iterator[tuple[str, Callable[..., Any], Any]]:
    table = message_table()
    for name in NAMES:
        if dialect is not SQLITE and name in _OF_SQLITE:
            continue
        build = getattr(statements, name)
        yield name, build, build(table, dialect)
    for name, options in VARIANTS.items():
        if dialect is SQLITE and _is_for_postgresql(name, options):
            continue
        if dialect is not SQLITE and name.partition(",")[0] in _OF_SQLITE:
            continue
        build = getattr(statements, name.partition(" ")[0].rstrip(","))
        yield name, build, build(table, dialect, **options)
    yield from _of_queues(dialect)
    for name, options in OF_MESSAGES.items():
        if dialect is SQLITE and name in ("readable", _GROUPED):  # it has no roles, and no LATERAL
            continue
        build = observing(name.partition(",")[0])
        yield name, build, build(table, dialect, **options)


def observing(name: str) -> Callable[..., Any]:
    """Return what builds a statement of the read model."""
    (build,) = {vars(module)[name] for module in _OF_OBSERVING if name in vars(module)}
    found: Callable[..., Any] = build
    return found


def _of_queues(dialect: Dialect) -> Iterator[tuple[str, Callable[..., Any], Any]]:
    for name, dialects in OBSERVING.items():
        if dialect in dialects:
            build = observing(name)
            options = {"way": _WAITING} if name == "parts" else {}
            yield name, build, build(message_table(), dialect, **options)


def _is_for_postgresql(name: str, options: dict[str, Any]) -> bool:
    # On SQLite a claim starts at the head, nobody else writes meanwhile, there are no roles, and
    # there is no row that cannot be sent.
    is_of_unsendable = "by_id" in options or name in _OF_UNSENDABLE
    if name.startswith(_OF_POSTGRESQL):
        return True
    is_special = "start" in options or "whole" in options or name.endswith("_as_maintainer")
    return is_special or is_of_unsendable


def _promise(build: Callable[..., Any]) -> str:
    return (build.__doc__ or "").splitlines()[0]


def _readable(statement: Any, compiler: Any) -> str:
    sent = short(str(statement.compile(dialect=compiler)))
    words = " ".join(sent.split())
    for keyword in _BREAKS:
        words = words.replace(f" {keyword}", f"\n  {keyword}")
    return "\n".join(
        textwrap.fill(line, 110, initial_indent=_indent(line), subsequent_indent="      ")
        for line in words.splitlines()
    )


def short(sent: str) -> str:
    """Return a statement without the full names."""
    symbols = re.sub(r"OPERATOR\(pg_catalog\.([^)]+)\)", r"\1", sent)
    return symbols.replace("pg_catalog.", "")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in documents().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
