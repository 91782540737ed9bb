"""What an ordering key needs in the database: four indexes, triggers, and on PostgreSQL functions.

A message with an ordering key has the turn of its key, or stands in line (``sql/turns.py``). The
index ``uq_xclaim_message_turn`` is what makes it one: of each key at most one message can be
claimed or is.

All that is made by ``xclaim ordering enable`` and not by a migration: without it queues without
keys pay nothing (docs/adr/0057).
"""

from __future__ import annotations

from dataclasses import dataclass

from xclaim.sql import turns
from xclaim.sql.dialects import SQLITE, Dialect
from xclaim.sql.revision import qualified
from xclaim.sql.schema import HAS_TURN, LINE_UP_NAME, PASS_OWED_NAME, TABLE_NAME, TURN_NAME

IN_LINE_NAME = "ix_xclaim_message_in_line"
OWED_NAME = "ix_xclaim_message_owed"
ALONG_NAME = "ix_xclaim_message_along"
INDEXES = (TURN_NAME, IN_LINE_NAME, OWED_NAME, ALONG_NAME)
KEYED_NAME = "ix_xclaim_message_keyed"  # there while ordering is being disabled
NEW = "{}_new"  # an index that is to take the place of one that differs
# What a run that was cut short may have left.
LEFT_OVER = (KEYED_NAME, *[NEW.format(name) for name in INDEXES])
TRIGGERS = ("xclaim_pass_turn", "xclaim_pass_turn_of_deleted")
SQLITE_TRIGGERS = (*TRIGGERS, "xclaim_line_up")
_GIVE_TURN, _UNFREE, _PASS_ON, _OWE, _GIVE_BACK = (
    f"xclaim_{name}" for name in ("give_turn", "unfree", "pass_on", "owe", "give_back")
)
FUNCTIONS = {
    LINE_UP_NAME: "bigint[]",
    PASS_OWED_NAME: "text",
    _GIVE_TURN: "text, text, bigint[], boolean",
    _UNFREE: "bigint[]",
    _PASS_ON: "bigint",
    _OWE: "bigint, bigint[]",
    _GIVE_BACK: "bigint",
    "xclaim_pass_turn": "",
}

# Who may insert messages with keys, or settle them: not who may update another column to lock rows.
USERS_OF_LINES = """
SELECT DISTINCT acl.privilege_type AS privilege, role.rolname::text AS role
  FROM pg_class AS class
 CROSS JOIN LATERAL (
       SELECT class.relacl AS rights
        UNION ALL SELECT attacl FROM pg_attribute
                   WHERE attrelid = class.oid AND attname IN ('ordering_key', 'status')) AS of_table
 CROSS JOIN LATERAL aclexplode(of_table.rights) AS acl
  LEFT JOIN pg_roles AS role ON role.oid = acl.grantee
 WHERE class.oid = {table} AND acl.grantee <> class.relowner
   AND acl.privilege_type IN ('INSERT', 'UPDATE')"""

_INDEXES = (
    (f"UNIQUE INDEX {{exists}}{TURN_NAME}", "origin_queue, ordering_key", HAS_TURN),
    (f"INDEX {{exists}}{IN_LINE_NAME}", "queue, ordering_key, id", turns.IN_LINE),
    (f"INDEX {{exists}}{OWED_NAME}", "origin_queue, due_at", turns.OWES),
    (f"INDEX {{exists}}{ALONG_NAME}", "queue, ordering_key, id", turns.ALONG),
)


def enabling(dialect: Dialect, schema: str | None = None) -> list[str]:
    """Return the statements that make what ordering keys need, to be run in one transaction.

    On PostgreSQL by the owner of the table, with its schema named.
    """
    if dialect is SQLITE:
        return [*_indexes(TABLE_NAME, exists="IF NOT EXISTS "), *_sqlite_triggers()]
    return [*_indexes(qualified(TABLE_NAME, schema)), *starting(schema)]


def disabling(dialect: Dialect, schema: str | None = None) -> list[str]:
    """Return the statements that take it away again."""
    indexes = [f"DROP INDEX IF EXISTS {qualified(name, schema)}" for name in (*INDEXES, *LEFT_OVER)]
    if dialect is SQLITE:
        return [*[f"DROP TRIGGER IF EXISTS {name}" for name in SQLITE_TRIGGERS], *indexes]
    return [*stopping(schema), *indexes]


def starting(schema: str | None) -> list[str]:
    """Return the statements that make the functions and triggers, beside the indexes."""
    table = qualified(TABLE_NAME, schema)
    return [
        *_functions(schema),
        *_triggers(table, schema),
        _handing_over(schema),
        _granting(schema),
    ]


def stopping(schema: str | None, *, has_triggers: bool = True) -> list[str]:
    """Return the statements that take the triggers and functions away, and leave the indexes.

    To ask for a trigger that is not there locks the table, too.
    """
    table = qualified(TABLE_NAME, schema)
    triggers = TRIGGERS if has_triggers else ()
    return [
        *[f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in triggers],
        *[f"DROP FUNCTION IF EXISTS {function}" for function in functions(schema)],
    ]


def indexes(schema: str | None, *, exists: str = "") -> dict[str, str]:
    """Return the statement that makes each index, by the index's name."""
    statements = _indexes(qualified(TABLE_NAME, schema), exists=exists)
    return dict(zip(INDEXES, statements, strict=True))


def triggers(schema: str | None) -> dict[str, str]:
    """Return the statement that makes each trigger of PostgreSQL, by the trigger's name."""
    statements = _triggers(qualified(TABLE_NAME, schema), schema)
    return dict(zip(TRIGGERS, statements, strict=True))


def built_beside_writers(schema: str | None) -> dict[str, str]:
    """Return the statement that builds each index while others write, by the index's name.

    It runs in no transaction, where the search path would have to be set for the session: so the
    operators have their full names.
    """
    made = indexes(schema, exists="CONCURRENTLY ")
    return {name: _in_full(statement) for name, statement in made.items()}


def replacing(schema: str | None, name: str) -> list[str]:
    """Return the statements that put the new index in the place of the one that differs."""
    new = qualified(NEW.format(name), schema)
    return [f"DROP INDEX {qualified(name, schema)}", f"ALTER INDEX {new} RENAME TO {name}"]


def built_to_look(schema: str | None) -> str:
    """Return the statement that indexes what forbids to disable ordering, beside writers."""
    return _in_full(
        f"CREATE INDEX CONCURRENTLY {KEYED_NAME} ON {qualified(TABLE_NAME, schema)} (id)"
        " WHERE ordering_key IS NOT NULL AND consumed_at IS NULL"
    )


def _in_full(statement: str) -> str:
    return statement.replace(" = ", " OPERATOR(pg_catalog.=) ")


def locking(schema: str | None, *, reading: bool = False) -> str:
    """Return the statement that keeps others from writing to the table until the end.

    ``reading``: also from reading it, which a trigger that goes away takes. Asked for at once, it
    is no lock that has to become another while others wait.
    """
    mode = "ACCESS EXCLUSIVE" if reading else "SHARE ROW EXCLUSIVE"
    return f"LOCK TABLE {qualified(TABLE_NAME, schema)} IN {mode} MODE"


def functions(schema: str | None) -> list[str]:
    """Return the functions, with the types of what they take."""
    return [f"{qualified(name, schema)}({types})" for name, types in FUNCTIONS.items()]


def _indexes(table: str, *, exists: str = "") -> list[str]:
    return [
        f"CREATE {kind.format(exists=exists)} ON {table} ({columns}) WHERE {where.format('')}"
        for kind, columns, where in _INDEXES
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A function as it is made."""

    name: str
    takes: str
    returns: str
    body: str
    is_definer: bool

    @property
    def settings(self) -> tuple[str, ...]:
        """What is set while it runs, as the catalog has it."""
        # Without sequential scans: a plan that was made for an empty table is kept. And it is kept,
        # for each question has one index: to plan anew for each list of ids is a third of a push.
        of_all = ("enable_seqscan=off", "plan_cache_mode=force_generic_plan")
        return ("search_path=pg_catalog, pg_temp", *of_all) if self.is_definer else of_all


def definitions(schema: str | None) -> list[Definition]:
    """Return the functions; those that others call have the rights of the table's owner.

    Who pushes may not update, who acks sees the line only as far as row-level security lets him:
    they would pass the turn to nobody, or not at all.
    """
    parts = {
        "table": qualified(TABLE_NAME, schema),
        "in_line": turns.IN_LINE.format(""),
        "along": turns.ALONG.format(""),
        "owes": turns.OWES.format(""),
        "is_given_back": "(consumed_at IS NULL AND queue = origin_queue)",
        "put_off": turns.PUT_OFF,
        "owed_a_call": turns.OWED_A_CALL,
        "is_seen": turns.IS_SEEN,
        "has_turn": HAS_TURN.format(""),
        "held_owes": turns.OWES.format("held."),
        "held_has_turn": HAS_TURN.format("held."),
        "old_has_turn": HAS_TURN.format("OLD."),
        **{
            name.removeprefix("xclaim_"): qualified(name, schema)
            for name in (_GIVE_TURN, _UNFREE, _PASS_ON, _OWE, _GIVE_BACK, LINE_UP_NAME)
        },
    }
    made = (
        (_UNFREE, "of_ids bigint[]", "bigint[]", turns.UNFREE_BODY, False),
        (
            _GIVE_TURN,
            "of_queue text, of_key text, awaited bigint[], waits boolean",
            "boolean",
            turns.GIVE_TURN_BODY,
            False,
        ),
        (_OWE, "of_id bigint, awaited bigint[]", "void", turns.OWE_BODY, False),
        (_GIVE_BACK, "of_id bigint", "boolean", turns.GIVE_BACK_BODY, False),
        (_PASS_ON, "of_id bigint", "boolean", turns.PASS_ON_BODY, False),
        (LINE_UP_NAME, "ids bigint[]", "bigint[]", turns.LINE_UP_BODY, True),
        (PASS_OWED_NAME, "of_queue text", "integer", turns.PASS_OWED_BODY, True),
        ("xclaim_pass_turn", "", "trigger", turns.PASS_TURN_BODY, True),
    )
    return [
        Definition(
            name=name,
            takes=takes,
            returns=returns,
            body=body.format(**parts),
            is_definer=definer,
        )
        for name, takes, returns, body, definer in made
    ]


def _functions(schema: str | None) -> list[str]:
    revoked = ", ".join(functions(schema))
    return [
        *[_function(definition, schema) for definition in definitions(schema)],
        f"REVOKE ALL ON FUNCTION {revoked} FROM PUBLIC",
    ]


def _function(made: Definition, schema: str | None) -> str:
    rights = " SECURITY DEFINER" if made.is_definer else ""
    settings = "".join(f" SET {each.replace('=', ' = ', 1)}" for each in made.settings)
    return (
        f"CREATE FUNCTION {qualified(made.name, schema)}({made.takes}) RETURNS {made.returns}"
        f" LANGUAGE plpgsql VOLATILE{rights}{settings} AS {_literal(made.body)}"
    )


def _triggers(table: str, schema: str | None) -> list[str]:
    function = qualified("xclaim_pass_turn", schema)
    updated, deleted = TRIGGERS
    of = {
        f"{updated} AFTER UPDATE OF status, queue": turns.CAN_CHANGE,
        f"{deleted} AFTER DELETE": HAS_TURN.format("OLD."),
    }
    return [
        f"CREATE TRIGGER {when} ON {table} FOR EACH ROW WHEN ({which})"
        f" EXECUTE FUNCTION {function}()"
        for when, which in of.items()
    ]


def _handing_over(schema: str | None) -> str:
    """Return the statement that gives the functions to the owner of the table, whoever made them.

    They do what they do with his rights.
    """
    body = f"""
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class
                    WHERE oid = {_literal(qualified(TABLE_NAME, schema))}::regclass);
BEGIN
    IF owner <> current_user THEN
        {_altering_owner(schema)}
    END IF;
END"""  # noqa: S608  (names of ours, quoted)
    return f"DO {_literal(body)}"


def _altering_owner(schema: str | None) -> str:
    altered = (f"ALTER FUNCTION {function} OWNER TO " for function in functions(schema))
    return "\n        ".join(f"EXECUTE {_literal(each)} || quote_ident(owner);" for each in altered)


def _granting(schema: str | None) -> str:
    """Return the statement that lets the roles with rights on the table use the functions.

    Who may insert may stand in line, who may update may pass on what is owed.
    """
    table = qualified(TABLE_NAME, schema)
    line_up, pass_owed = functions(schema)[:2]
    body = f"""
DECLARE
    granted record;
BEGIN
    FOR granted IN
        {USERS_OF_LINES.format(table=f"{_literal(table)}::regclass")} LOOP
        EXECUTE 'GRANT EXECUTE ON FUNCTION '
            || CASE granted.privilege WHEN 'INSERT' THEN {_literal(line_up)}
                                           ELSE {_literal(pass_owed)} END
            || ' TO '
            || coalesce(quote_ident(granted.role), 'PUBLIC');
    END LOOP;
END"""
    return f"DO {_literal(body)}"


def _sqlite_triggers() -> list[str]:
    updated, deleted, inserted = SQLITE_TRIGGERS
    parts = {
        "table": TABLE_NAME,
        "in_line": turns.IN_LINE.format(""),
        "along": turns.ALONG.format(""),
        "has_turn": HAS_TURN.format(""),
        "given_back": turns.GIVEN_BACK,
    }
    of_new = turns.SQLITE_GIVE_TURN.format(row="NEW", **parts)
    of_old = turns.SQLITE_GIVE_TURN.format(row="OLD", **parts)
    forget = (turns.SQLITE_FORGET + turns.SQLITE_GIVE_BACK).format(**parts)
    of = {
        f"{inserted} AFTER INSERT": (turns.IN_LINE.format("NEW."), of_new),
        f"{updated} AFTER UPDATE OF status, queue": (turns.CAN_CHANGE, f"{forget} {of_old}"),
        f"{deleted} AFTER DELETE": (HAS_TURN.format("OLD."), of_old),
    }
    return [
        f"CREATE TRIGGER IF NOT EXISTS {when} ON {TABLE_NAME} WHEN {which} BEGIN {does} END"
        for when, (which, does) in of.items()
    ]


def _literal(text: str) -> str:
    # E'' means the same whatever standard_conforming_strings says of backslashes.
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
