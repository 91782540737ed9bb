"""Write the verbs as SQL functions, from the statements that the verbs send.

Run `python -m tests.sql_functions` after changing a statement; a test compares. The text is frozen
beside the migration, which imports nothing of this. `sql_functions.sql` has what Python does around
a statement: checks of arguments, an error for a lost claim, the lapsed claims that a claim gives
back on its way. Here the statements are put in, and the words that several functions share.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, FromClause, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by
from sqlalchemy.types import TypeEngine

from tests.sql_docs import short
from xclaim.arguments import DEAD_LETTER_SUFFIX as _DEAD
from xclaim.arguments import (
    MAX_DURATION,
    MAX_KEY_BYTES,
    MAX_LIMIT,
    MAX_ORDERING_KEY_BYTES,
    MAX_QUEUE_BYTES,
    UNREADABLE,
)
from xclaim.retry import MAX_ATTEMPTS, RETRY
from xclaim.sql import full_names, statements
from xclaim.sql.dialects import Dialect
from xclaim.sql.schema import (
    DELETE_NAME,
    QUEUE_TABLE_NAME,
    SLOT_TABLE_NAME,
    TABLE_NAME,
    message_table,
)

TEMPLATE = Path(__file__).with_suffix(".sql")
PATH = Path(__file__).parents[1] / "migrations" / "versions" / "0001_functions.sql"
HEADER = """\
-- The verbs as functions; written by `python -m tests.sql_functions` from the statements.
-- The migration puts in the name of the schema, and quotes what stands between dollars.

"""
_KEYS = {"unique_keys": MAX_KEY_BYTES, "ordering_keys": MAX_ORDERING_KEY_BYTES}
_MAX_SHOWN = 60  # characters of a bad value in an error, as in Python
_SIZE = 987_654  # in the place of a limit that stands in a statement's text: nobody else writes it
_MARK = "\0"  # for a space within a literal, where no line may break
# Nobody's settings change what a function does or how it is planned: by the indexes, also when the
# plan is made and kept on a table that is still empty (docs/adr/0060).
_PATH = "SET search_path = pg_catalog, pg_temp"
_PLANS = f"{_PATH}\nSET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off"
_SETTINGS = {
    "settings": f"LANGUAGE plpgsql VOLATILE {_PLANS}",
    # A list is joined, and a plan that was kept of an empty table would read all keys for each.
    "list_settings": f"LANGUAGE plpgsql VOLATILE {_PLANS.replace('generic', 'custom')}",
    "plain_settings": f"LANGUAGE plpgsql VOLATILE {_PATH}",
    "reading_settings": f"LANGUAGE plpgsql STABLE {_PLANS}",
    "counting_settings": f"LANGUAGE plpgsql STABLE {_PATH} SET jit = off",
}
_REFUSED = "RAISE invalid_parameter_value USING MESSAGE ="
# By seconds: of '-1 year 361 days' an interval says that it is positive, and our clock not.
_LONGEST = int(MAX_DURATION.total_seconds())
_IS_NO_DURATION = f"date_part('epoch', <function>.{{}}) NOT BETWEEN 0 AND {_LONGEST}"


def _refused_duration(name: str) -> str:
    days = MAX_DURATION.days
    said = f"'{name} must lie between 0 and {days} days, not %L', <function>.{name}"
    return f"{_REFUSED} format(\n        {said});"


_SHARED = {
    "max_attempts": str(MAX_ATTEMPTS),
    "max_key": str(MAX_KEY_BYTES),
    "tries": "10",
    "dead": f"""
CASE WHEN <queue> LIKE '%{_DEAD}' THEN <queue> ELSE <queue> || '{_DEAD}' END
""",
    "check_name": f"""
IF coalesce(octet_length(<queue>), 0) NOT BETWEEN 1
       AND {MAX_QUEUE_BYTES} + {len(_DEAD)} * (<queue> LIKE '%{_DEAD}')::integer
   OR <queue> ~ '^[[:space:]]*$' OR <queue> ~ '[[:cntrl:]]'
   OR getdatabaseencoding() = 'UTF8' AND <queue> ~ $r$[{UNREADABLE}]$r$ THEN
    {_REFUSED} format(
        'queue must have 1 to {MAX_QUEUE_BYTES} readable bytes, not %s',
        coalesce(to_json(left(<queue>, {_MAX_SHOWN}))::text, 'NULL'));
END IF;
""",
    "check_queue": f"""
{{check_name queue=<queue>}}
IF <queue> LIKE '%{_DEAD}' THEN
    {_REFUSED} format(
        'queue must not end with {_DEAD}: only failing messages enter %s',
        to_json(left(<queue>, {_MAX_SHOWN})));
END IF;
""",
    "check_push": f"""
{{check_queue queue=<function>.queue}}
{{check_delay}}
IF coalesce(<function>.priority NOT BETWEEN -32768 AND 32767, true) THEN
    {_REFUSED} format(
        'priority must lie between -32768 and 32767, not %L', <function>.priority);
END IF;
IF <function>.max_attempts < 1 THEN
    {_REFUSED} format(
        'max_attempts must be 1 or more, or NULL for any number, not %s',
        <function>.max_attempts);
END IF;
IF jsonb_typeof(<function>.headers) IS DISTINCT FROM 'object' THEN
    {_REFUSED} format(
        'headers must be a JSON object, not %s',
        coalesce(jsonb_typeof(<function>.headers), 'NULL'));
END IF;
IF coalesce(<function>.on_dead, '') NOT IN ('skip', 'hold') THEN
    {_REFUSED} format(
        $m$on_dead must be 'skip' or 'hold', not %s$m$,
        coalesce(to_json(left(<function>.on_dead, {_MAX_SHOWN}))::text, 'NULL'));
END IF;
""",
    **{
        f"check_{name}": f"""
IF cardinality(<function>.{name}) <> cardinality(<function>.payloads) THEN
    {_REFUSED} format(
        '%s {name} for %s payloads', cardinality(<function>.{name}),
        cardinality(<function>.payloads)),
        HINT = 'pass one key, or NULL, for each';
END IF;
{{check_bytes_of_{name}}}
"""
        for name in _KEYS
    },
    **{
        f"check_bytes_of_{name}": f"""
SELECT octet_length(key) INTO _bytes FROM unnest(<function>.{name}) AS given (key)
 WHERE octet_length(key) NOT BETWEEN 1 AND {most} LIMIT 1;
IF FOUND THEN
    {_REFUSED} format(
        '{name.removesuffix("s")} must have 1 to {most} bytes, not %s', _bytes);
END IF;
"""
        for name, most in _KEYS.items()
    },
    "check_n": f"""
IF coalesce(<function>.n, 0) NOT BETWEEN 1 AND {MAX_LIMIT} THEN
    {_REFUSED} format('n must lie between 1 and {MAX_LIMIT}, not %L', <function>.n);
END IF;
""",
    **{
        f"check_{name}": f"""
IF coalesce({_IS_NO_DURATION.format(name)}, true) THEN
    {_refused_duration(name)}
END IF;
"""
        for name in ("delay", "lease", "older_than")
    },
    "check_optional_delay": f"""
IF {_IS_NO_DURATION.format("delay")} THEN
    {_refused_duration("delay")}
END IF;
""",
    # Where ordering is enabled, and the caller may: what was owed when its holder ended.
    "pass_what_is_owed": """
IF has_function_privilege(to_regprocedure({pass_owed}), 'EXECUTE') THEN
    FOR _call IN 1..10 LOOP
        EXIT WHEN {schema}.xclaim_pass_owed(<function>.queue) < 100;
    END LOOP;
END IF;
""",
    "refuse_keys_if_not_enabled": """
IF to_regprocedure({line_up}) IS NULL THEN
    RAISE object_not_in_prerequisite_state USING
        MESSAGE = 'ordering keys are not enabled in this database',
        HINT = 'run xclaim ordering enable once, as the owner of the table';
END IF;
""",
    "refuse_lost": """
IF NOT FOUND THEN
    RAISE 'the claim of message % is no longer held', <function>.id
        USING ERRCODE = 'XC001',
        HINT = 'another has it by now, or it was settled: undo what you did for it';
END IF;
""",
    "is_limited": """
EXISTS (SELECT FROM {schema}.xclaim_queue AS limited
         WHERE limited.queue = <function>.queue AND limited.max_backlog IS NOT NULL)
""",
    # With what stands in line where ordering is enabled, whose index that needs.
    "refuse_full": """
IF to_regprocedure({pass_owed}) IS NULL THEN
    {backlog} INTO _most, _on_full, _waiting;
ELSE
    {backlog_in_line} INTO _most, _on_full, _waiting;
END IF;
IF _count > 0 AND _waiting + _count > _most THEN
    RAISE 'queue % is full: % messages wait, max_backlog is %, and there is no room for % more',
        quote_literal(<function>.queue), least(_waiting, _most + 1), _most, _count
        USING ERRCODE = 'XC003', HINT = 'push again when some were claimed, or let more wait';
END IF;
""",
    "refuse_unseen": """
RAISE object_not_in_prerequisite_state USING
    MESSAGE = 'what is under the unique_key can be neither inserted nor seen',
    HINT = 'grant the role what a producer needs with xclaim grants';
""",
    "claimed": """
SELECT claimed.id, claimed.claim_token, claimed.payload, coalesce(claimed.headers, '{}'),
       claimed.attempts, claimed.max_attempts, claimed.priority, claimed.unique_key,
       claimed.origin_queue, claimed.created_at, claimed.claim_expires_at, claimed.last_error,
       claimed.codec, claimed.ordering_key
  FROM claimed
 ORDER BY claimed.priority DESC, claimed.available_at, claimed.id;
""",
}
# What each parameter of a statement is in a function.
_PARAMETERS = {
    "queue_name": "<function>.queue",
    "message_priority": "<function>.priority",
    "payload_text": "<function>.payload",
    "message_headers": "<function>.headers",
    "attempts_limit": "<function>.max_attempts",
    "delay_seconds": "date_part('epoch', <function>.delay)",
    "lease_seconds": "date_part('epoch', <function>.lease)",
    "age_seconds": "date_part('epoch', <function>.older_than)",
    "message_id": "<function>.id",
    "message_limit": "<function>.n",
    "key": "<function>.claim_key",
    "claimant": "_claimant",
    "token_secret": "_secret",
    "dead_letter_queue": "_dead",
    "asked_backlog": "NULL",
    "error": "_error",
    "drawn": "_drawn",
    "pauses": f"'{json.dumps(RETRY.pauses())}'",
    "pause_count": str(len(RETRY.pauses())),
    "jitter": str(RETRY.jitter),
    "is_limited": "false",
    "most_attempts": "NULL",
    "holds_turn": "_holds_turn",
    **{
        name: f"<function>.{name}"
        for name in ("token", "ids", "tokens", "unique_keys", "ordering_keys")
    },
    "error_class": "left(<function>.error_class, 200)",
    "index_name": "{turn}",  # which the migration fills in
}
_BREAKS = (
    "FROM ", "WHERE ", "SET ", "RETURNING ", "ORDER BY ", "LIMIT ", "UNION ALL ", "ON CONFLICT ",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _InFunctions(Dialect):
    """PostgreSQL's for a function: what it is given has its type, and nothing is sent."""

    def readable(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def json(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        return bindparam(text.key, type_=JSONB) if isinstance(text, BindParameter) else text

    def rows(self, **columns: TypeEngine[Any]) -> FromClause:
        types = {name: JSONB() if name == "payload" else each for name, each in columns.items()}
        arrays = [bindparam(f"{name}s", type_=ARRAY(each)) for name, each in types.items()]
        item = func.unnest(*arrays).table_valued(
            *[column(name, each) for name, each in types.items()], with_ordinality="position"
        )
        return item.render_derived(name="item")

    def elements(self) -> FromClause:
        item = func.jsonb_array_elements(bindparam("payloads", type_=JSONB)).table_valued(
            column("payload", JSONB()), with_ordinality="position"
        )
        return item.render_derived(name="item")


IN_FUNCTIONS = _InFunctions("postgresql")
_Build = Callable[..., Any]
_RELEASES: dict[str, _Build] = {
    "release" + "_counted" * counted + "_failed" * failed + "_delayed" * delayed: partial(
        statements.release, counted=counted, with_error=failed, delayed=delayed
    )
    for counted in (False, True)
    for failed in (False, True)
    for delayed in (False, True)
}
_STATEMENTS: dict[str, _Build] = {
    **_RELEASES,
    **{
        name: getattr(statements, name)
        for name in (
            "push_one",
            "push",
            "ack",
            "ack_many",
            "extend",
            "expire",
            "expire_others",
            "redrive",
            "withdraw",
            "withdraw_as_maintainer",
            "prune",
            "prune_as_maintainer",
            "peek",
            "counts",
            "backlog",
        )
    },
    "backlog_in_line": partial(statements.backlog, in_line=True),
    "push_ordered": partial(statements.push, ordered=True),
    "push_once": partial(statements.push_once, by_id=True, ordered=True),
    "claim": partial(statements.claim, limit=_SIZE),
    "claim_again": partial(statements.claim, limit=_SIZE, resumes=True),
    "claim_within": partial(statements.claim_within, limit=_SIZE),
}
_OF_TABLES = re.compile(
    rf"(?<![\w.])({TABLE_NAME}|{QUEUE_TABLE_NAME}|{SLOT_TABLE_NAME}|{DELETE_NAME})\b(?!\.)"
)
_PLACES = re.compile(
    r"^(?P<indent> *)(?P<before>.*?)"
    r"\{(?!schema\}|message\}|pass_owed\}|line_up\}|turn\})"
    r"(?P<name>[a-z_]+)(?P<given>(?: [^}]*)?)\}",
    re.MULTILINE,
)
_NAME = re.compile(r"FUNCTION \{schema\}\.(\w+)")
_TEXT_ARGUMENT = re.compile(r"(\w+) text\b")
_TEXT_VARIABLE = re.compile(r"^( +_\w+ text(?:\[\])?)(?=;| :=)", re.MULTILINE)


def text() -> str:
    """Return the text of the file."""
    parts = TEMPLATE.read_text().split("\n\n-- ")
    return HEADER + "\n\n".join(
        _filled(part if part.startswith("-- ") else f"-- {part}") for part in parts
    )


def names() -> list[str]:
    """Return the names of the functions, in the order of the file."""
    return _NAME.findall(TEMPLATE.read_text())


def promises() -> dict[str, str]:
    """Return what each function promises."""
    found = re.findall(r"^-- (xclaim_\w+): (.+)$", TEMPLATE.read_text(), re.MULTILINE)
    return dict(found)


def _filled(template: str) -> str:
    """Return the definition of one function with everything in its place."""
    function = _NAME.findall(template)[0]
    comment, _, definition = template.partition("\n")
    said = comment.removeprefix("-- ").partition(": ")[2]
    filled = _PLACES.sub(partial(_fill, function), definition)
    while (again := _PLACES.sub(partial(_fill, function), filled)) != filled:
        filled = again
    lines = textwrap.fill(said, 97, initial_indent="-- ", subsequent_indent="-- ")
    return f"{lines}\n{_collated(function, filled)}"


def _collated(function: str, definition: str) -> str:
    """Return the definition with texts that are compared as the columns are, whoever gives them.

    Texts in a function have the collation of what it is given, and by another one, such as that of
    ``current_user`` or of a column COLLATE "C", PostgreSQL finds no index.
    """
    head, start, body = definition.partition(" AS $$\n")
    if arguments := "|".join(_TEXT_ARGUMENT.findall(head.partition("\n) RETURNS")[0])):
        given = re.compile(rf"\b{function}\.(?:{arguments})\b")
        body = given.sub(r'(\g<0> COLLATE "default")', body)
    return head + start + _TEXT_VARIABLE.sub(r'\1 COLLATE "default"', body)


def _fill(function: str, place: re.Match[str]) -> str:
    indent, before, name = place["indent"], place["before"], place["name"]
    words = place["given"].split()
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if name in _SETTINGS:
        written = _SETTINGS[name]
    elif name in _SHARED:
        written = _SHARED[name].strip()
        for key, value in given.items():
            written = written.replace(f"<{key}>", value)
    else:
        written = _statement(name, words, {**_PARAMETERS, **_of(name), **given})
    written = written.replace("<function>", function)
    if "\n" in written:
        written = textwrap.indent(written, indent).removeprefix(indent)
    return f"{indent}{before}{written}"


def _of(statement: str) -> dict[str, str]:
    if not statement.startswith("release"):
        return {}
    row = f"{TABLE_NAME}.queue"
    return {"dead_letter_queue": f"({_SHARED['dead'].strip().replace('<queue>', row)})"}


def _statement(name: str, words: list[str], parameters: dict[str, str]) -> str:
    built = _STATEMENTS[name](message_table(), IN_FUNCTIONS)
    if "count" in words:
        built = select(func.count()).select_from(built.subquery("answered"))
    if "gathered" in words:  # one array for each column
        answered = built.subquery("answered")
        built = select(
            *[func.array_agg(aggregate_order_by(each, answered.c.id)) for each in answered.c]
        )
    sent = short(str(built.compile(dialect=full_names.dialect())))
    sent = re.sub(r"%\((\w+)\)s", lambda found: parameters[found[1]], sent).replace("%%", "%")
    sent = sent.replace(str(_SIZE), "<function>.n")
    if name == "claim_within":  # what it returns stands in the template
        sent = sent[: sent.rindex("SELECT")]
    return _laid_out(_OF_TABLES.sub(r"{schema}.\1", sent))


def _laid_out(sent: str) -> str:
    words = " ".join(re.sub(r"'[^']*'", lambda found: found[0].replace(" ", _MARK), sent).split())
    for keyword in _BREAKS:
        words = words.replace(f" {keyword}", f"\n  {keyword}")
    lines = [
        textwrap.fill(
            line,
            100,
            initial_indent=line[: len(line) - len(line.lstrip())],
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in words.splitlines()
    ]
    return "\n".join(lines).replace(_MARK, " ")


if __name__ == "__main__":
    PATH.write_text(text())
