"""What an ordering key needs in the database: four indexes, triggers, and on PostgreSQL functions.

A message with an ordering key has the turn of its key, or stands in line: ``available_at`` is NULL
then. The index ``uq_xclaim_message_turn`` is what makes it one: of each key at most one message can
be claimed or is. Whatever ends it (an ack, its death, a DELETE by hand) passes the turn on, in the
same transaction, by a trigger.

Who claims whole lines claims those behind the message with the turn along with it: they are
``claimed`` and have no ``available_at``, so of a key still one has the turn. Nobody else claims one
of a batch before all of it have ended: the turn of one that ends or is given back goes to another
one of its batch first (docs/adr/0066).

All that is made by ``xclaim ordering enable`` and not by a migration: without it queues without
keys pay nothing (docs/adr/0057).
"""

from __future__ import annotations

from dataclasses import dataclass

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

IN_LINE = "{0}ordering_key IS NOT NULL AND {0}status = 'available' AND {0}available_at IS NULL"
# Claimed along with the message that has the turn.
ALONG = "{0}ordering_key IS NOT NULL AND {0}status = 'claimed' AND {0}available_at IS NULL"
# A holder that has ended, or was given back, and could not pass its turn on. It awaits itself at
# least; `due_at` is when it is tried again.
OWES = "{0}awaited_ids IS NOT NULL AND {0}due_at IS NOT NULL AND {0}available_at IS NOT NULL"

OWED_A_CALL = 100  # short locks

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
    (f"INDEX {{exists}}{IN_LINE_NAME}", "queue, ordering_key, id", IN_LINE),
    (f"INDEX {{exists}}{OWED_NAME}", "origin_queue, due_at", OWES),
    (f"INDEX {{exists}}{ALONG_NAME}", "queue, ordering_key, id", ALONG),
)

# The turn of a line that nobody leads to one that was claimed along with its holder, else to the
# first in line. Which of a batch has it is the same to all: one that nobody is just settling. True:
# it has it. False: nobody is in line. NULL: who could have it is locked, by who is just settling or
# withdrawing it; `waits` for that instead.
_GIVE_TURN_BODY = """
DECLARE
    next_id bigint;
BEGIN
    LOOP
        PERFORM FROM {table} WHERE queue = of_queue AND ordering_key = of_key AND {along}
          ORDER BY queue, ordering_key, id LIMIT 1;
        IF FOUND THEN
            SELECT id INTO next_id FROM {table}
             WHERE queue = of_queue AND ordering_key = of_key AND {along}
             ORDER BY queue, ordering_key, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
            IF NOT FOUND AND waits THEN
                PERFORM FROM {table} WHERE queue = of_queue AND ordering_key = of_key AND {along}
                  ORDER BY queue, ordering_key, id LIMIT 1 FOR NO KEY UPDATE;
                CONTINUE;
            END IF;
        ELSE
            SELECT id INTO next_id FROM {table}
             WHERE queue = of_queue AND ordering_key = of_key AND {in_line}
             ORDER BY queue, ordering_key, id LIMIT 1;
            IF NOT FOUND THEN
                RETURN false;
            ELSIF waits THEN
                PERFORM FROM {table} WHERE id = next_id AND {in_line} FOR NO KEY UPDATE;
                CONTINUE WHEN NOT FOUND;
            ELSE
                PERFORM FROM {table} WHERE id = next_id AND {in_line}
                    FOR NO KEY UPDATE SKIP LOCKED;
            END IF;
        END IF;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        UPDATE {table}
           SET available_at = greatest(due_at, statement_timestamp()), due_at = NULL,
               awaited_ids = nullif(awaited, '{{}}')
         WHERE id = next_id;
        RETURN true;
    END LOOP;
END
"""

# Of former holders those behind which a producer is still writing: it has locked them.
_UNFREE_BODY = """
DECLARE
    free bigint[];
BEGIN
    free := ARRAY(SELECT id FROM {table} WHERE id = ANY (of_ids) FOR UPDATE SKIP LOCKED);
    IF free @> of_ids THEN
        RETURN '{{}}';
    END IF;
    RETURN ARRAY(SELECT id FROM {table}
                  WHERE id = ANY (of_ids) AND id <> ALL (free) ORDER BY id);
END
"""

# Leave the turn with a holder that has ended, to be passed on later: soon at first, then once a
# second. With one that was given back, too, which cannot be claimed before that.
_OWE_BODY = """
BEGIN
    UPDATE {table}
       SET keeps_turn = keeps_turn OR NOT {is_given_back},
           available_at = CASE WHEN {is_given_back}
                               THEN greatest(due_at, clock_timestamp()) + {put_off}
                               ELSE available_at END,
           awaited_ids = array_append(array_remove(awaited, of_id), of_id),
           due_at = clock_timestamp()
               + least(interval '1 second', greatest(interval '50 milliseconds',
                       (clock_timestamp() - coalesce(consumed_at, available_at)) / 2))
     WHERE id = of_id;
END
"""

# What could not be passed on at the end of its holder. True: it has been now.
_PASS_ON_BODY = """
DECLARE
    holder record;
    unfree bigint[];
    is_passed boolean;
BEGIN
    SELECT id, origin_queue, ordering_key, awaited_ids, {is_given_back} AS is_given_back
      INTO holder FROM {table}
     WHERE id = of_id AND {owes} FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF holder.is_given_back THEN
        RETURN {give_back}(of_id);
    END IF;
    unfree := {unfree}(holder.awaited_ids || holder.id);
    UPDATE {table} SET keeps_turn = NULL, due_at = NULL, awaited_ids = NULL WHERE id = of_id;
    is_passed := {give_turn}(holder.origin_queue, holder.ordering_key, unfree, false);
    IF is_passed IS NULL OR NOT is_passed
       AND (unfree <> '{{}}' OR current_setting('transaction_isolation') NOT LIKE 'read %') THEN
        PERFORM {owe}(of_id, unfree);
    END IF;
    RETURN coalesce(is_passed, false);
END
"""  # noqa: S105  (a turn is passed)

# A holder was given back, and is available. While others of its batch are claimed one of them takes
# the turn over, and it stands in line; after the last of them the turn is for the first in line.
# True: another one has it.
_GIVE_BACK_BODY = """
DECLARE
    holder record;
    unfree bigint[];
    is_given boolean;
BEGIN
    SELECT origin_queue, ordering_key, awaited_ids, {owes} AS owes,
           CASE WHEN {owes} THEN available_at - {put_off}
                ELSE coalesce(available_at, due_at) END AS due_at
      INTO holder FROM {table} WHERE id = of_id;
    IF NOT holder.owes THEN
        PERFORM FROM {table}
          WHERE queue = holder.origin_queue AND ordering_key = holder.ordering_key AND {along}
          ORDER BY queue, ordering_key, id LIMIT 1;
        IF NOT FOUND THEN
            PERFORM FROM {table}
              WHERE queue = holder.origin_queue AND ordering_key = holder.ordering_key
                AND {in_line} AND id < of_id
              ORDER BY queue, ordering_key, id LIMIT 1;
            IF NOT FOUND THEN
                RETURN false;
            END IF;
        END IF;
    END IF;
    unfree := {unfree}(holder.awaited_ids || of_id);
    UPDATE {table} SET available_at = NULL, due_at = holder.due_at, awaited_ids = NULL
     WHERE id = of_id;
    is_given := {give_turn}(holder.origin_queue, holder.ordering_key, unfree, false);
    IF is_given THEN
        RETURN true;
    END IF;
    PERFORM {owe}(of_id, unfree);
    RETURN false;
END
"""

# Return how many were looked at: if they are OWED_A_CALL there may be more. The time is asked for
# once: the index finds nothing by a function that may say another at each row.
_PASS_OWED_BODY = """
DECLARE
    asked_at timestamptz := clock_timestamp();
    owing bigint;
    looked_at integer := 0;
BEGIN
    FOR owing IN SELECT id FROM {table}
                  WHERE origin_queue = of_queue AND {owes} AND due_at <= asked_at
                  ORDER BY due_at LIMIT {owed_a_call} FOR NO KEY UPDATE SKIP LOCKED LOOP
        looked_at := looked_at + 1;
        BEGIN
            PERFORM {pass_on}(owing);
        EXCEPTION WHEN unique_violation THEN
            -- Somebody else has passed it on: this is no reason to fail a claim.
        END;
    END LOOP;
    RETURN looked_at;
END
"""  # noqa: S105  (a turn is passed)

# After the messages were inserted in line. Who leads a line is locked, shared with other producers:
# whoever ends it meanwhile learns from that lock that somebody writes behind it. The keys are taken
# in one order by all. Only what this transaction has written itself is looked at, so that nobody
# locks the lines of queues to which he may not push: itself, or in a savepoint, whose number is
# above its own. Not by age(), which counts from the first time that it was asked in a transaction.
_LINE_UP_BODY = """
DECLARE
    this bigint := pg_current_xact_id()::text::bigint;
    of_queue text;
    missing text[];
    led text[];
    locked bigint[];
    owing bigint[];
    of_key text;
    owing_id bigint;
    is_given boolean := false;
BEGIN
    SELECT min(origin_queue), array_agg(DISTINCT ordering_key) INTO of_queue, missing
      FROM {table}
     WHERE id = ANY (ids) AND {in_line}
       AND CASE WHEN (xmin::text::bigint - this) & 4294967295 < 2147483648
                THEN pg_xact_status(
                         (this + ((xmin::text::bigint - this) & 4294967295))::text::xid8)
                     = 'in progress'
                ELSE false END;
    WHILE cardinality(missing) > 0 LOOP
        locked := ARRAY(
            SELECT holder.id
              FROM unnest(missing) WITH ORDINALITY AS wanted (ordering_key, place)
             CROSS JOIN LATERAL (
                   SELECT held.id
                     FROM {table} AS held
                    WHERE held.origin_queue = of_queue
                      AND held.ordering_key = wanted.ordering_key AND {held_has_turn}
                      FOR KEY SHARE) AS holder);
        -- Such a lock waits for who ends the holder, and then returns it as it was before: with a
        -- new snapshot it is seen whether it still leads. Where the snapshot stays, this fails.
        IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
            PERFORM FROM {table} WHERE id = ANY (locked) FOR SHARE;
        END IF;
        SELECT coalesce(array_agg(held.ordering_key), '{{}}'),
               array_agg(held.id) FILTER (WHERE {held_owes})
          INTO led, owing
          FROM {table} AS held
         WHERE held.id = ANY (locked) AND {held_has_turn};
        FOREACH owing_id IN ARRAY coalesce(owing, '{{}}') LOOP
            is_given := {pass_on}(owing_id) OR is_given;
        END LOOP;
        missing := ARRAY(SELECT wanted FROM unnest(missing) AS wanted
                          WHERE wanted <> ALL (led) ORDER BY wanted);
        EXIT WHEN cardinality(missing) = 0;
        BEGIN
            FOREACH of_key IN ARRAY missing LOOP
                PERFORM {give_turn}(of_queue, of_key, NULL, true);
            END LOOP;
            is_given := true;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            -- Another producer was quicker. Its message leads: look again, with a new snapshot.
            IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
                RAISE serialization_failure
                USING MESSAGE = 'another producer has pushed under the same ordering key';
            END IF;
        END;
    END LOOP;
    IF NOT is_given THEN
        RETURN '{{}}';
    END IF;
    RETURN ARRAY(SELECT id FROM {table}
                  WHERE id = ANY (ids) AND origin_queue = of_queue AND available_at IS NOT NULL);
END
"""

_PASS_TURN_BODY = """
DECLARE
    is_deleted boolean := TG_OP = 'DELETE';
    is_read_committed boolean := current_setting('transaction_isolation') LIKE 'read %';
    unfree bigint[] := '{{}}';
    is_passed boolean;
BEGIN
    IF NOT is_deleted THEN
        IF NEW.queue = OLD.queue AND NEW.consumed_at IS NULL THEN
            PERFORM {give_back}(NEW.id);
            RETURN NULL;
        END IF;
        IF NEW.keeps_turn
           AND (NEW.consumed_at IS NOT NULL OR NEW.available_at IS NULL AND OLD.due_at IS NOT NULL
                OR NEW.queue NOT IN (NEW.origin_queue, NEW.origin_queue || '.dead')) THEN
            -- A dead letter that held the turn, or owed it, does so no more.
            UPDATE {table} SET keeps_turn = NULL, due_at = NULL WHERE id = NEW.id;
        ELSIF NEW.keeps_turn AND NEW.available_at IS NOT NULL THEN
            RETURN NULL;
        END IF;
        IF NOT ({old_has_turn}) THEN
            IF NEW.queue = NEW.origin_queue AND NEW.available_at IS NULL
               AND NEW.consumed_at IS NULL THEN
                PERFORM {line_up}(ARRAY[NEW.id]);
            END IF;
            RETURN NULL;
        END IF;
        unfree := {unfree}(OLD.awaited_ids || OLD.id);
        IF NEW.available_at IS NULL THEN
            -- Others of its line were redriven with it, and one of them has the turn by now.
            UPDATE {table} SET awaited_ids = nullif(awaited_ids || unfree, '{{}}')
             WHERE origin_queue = OLD.origin_queue AND ordering_key = OLD.ordering_key
               AND {has_turn};
            IF FOUND THEN
                RETURN NULL;
            END IF;
        END IF;
    ELSIF OLD.awaited_ids IS NOT NULL THEN
        unfree := {unfree}(OLD.awaited_ids);
    END IF;
    is_passed := {give_turn}(OLD.origin_queue, OLD.ordering_key, unfree, is_deleted);
    IF is_passed OR NOT is_passed AND unfree = '{{}}' AND is_read_committed THEN
        RETURN NULL;
    END IF;
    IF NOT is_deleted THEN  -- what was redriven meanwhile cannot be claimed before that either
        PERFORM {owe}(OLD.id, unfree);
    ELSIF unfree <> '{{}}' THEN
        PERFORM {owe}(unfree[1], unfree);
    ELSE
        RAISE serialization_failure
        USING MESSAGE = 'to delete the last one of an ordering key takes READ COMMITTED';
    END IF;
    RETURN NULL;
END
"""  # noqa: S105  (a turn is passed)

# Of those that had the turn: one that was claimed along has none, and ends without it.
_ENDED = "OLD.consumed_at IS NULL AND NEW.consumed_at IS NOT NULL"
_GIVEN_BACK = (
    "OLD.status = 'claimed' AND NEW.status = 'available'"
    " AND OLD.queue = NEW.queue AND NEW.queue = NEW.origin_queue"
)
_CAN_CHANGE = (
    "OLD.ordering_key IS NOT NULL AND (OLD.queue <> NEW.queue"
    f" OR OLD.available_at IS NOT NULL AND ({_ENDED} OR {_GIVEN_BACK}))"
)
# What was given back, or redriven, and does not hand its turn on yet, is out of reach for so long.
_PUT_OFF = "interval '87600 hours'"

# SQLite has one writer at a time: nobody writes behind anybody, and nothing is owed.
_SQLITE_GIVE_TURN = """
    UPDATE {table}
       SET available_at = max(coalesce(due_at, ''), strftime('%Y-%m-%d %H:%M:%f', 'now')),
           due_at = NULL
     WHERE id = coalesce(
               (SELECT id FROM {table}
                 WHERE queue = {row}.origin_queue AND ordering_key = {row}.ordering_key
                   AND {along}
                 ORDER BY queue, ordering_key, id LIMIT 1),
               (SELECT id FROM {table}
                 WHERE queue = {row}.origin_queue AND ordering_key = {row}.ordering_key
                   AND {in_line}
                 ORDER BY queue, ordering_key, id LIMIT 1))
       AND NOT EXISTS (SELECT 1 FROM {table}
                        WHERE origin_queue = {row}.origin_queue
                          AND ordering_key = {row}.ordering_key AND {has_turn});
"""
_SQLITE_FORGET = """
    UPDATE {table} SET keeps_turn = NULL
     WHERE id = NEW.id AND keeps_turn
       AND (consumed_at IS NOT NULL OR queue NOT IN (origin_queue, origin_queue || '.dead'));
"""
_SQLITE_GIVE_BACK = """
    UPDATE {table} SET available_at = NULL, due_at = coalesce(available_at, due_at)
     WHERE id = NEW.id AND OLD.available_at IS NOT NULL AND {given_back}
       AND (EXISTS (SELECT 1 FROM {table}
                     WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {along})
            OR EXISTS (SELECT 1 FROM {table}
                        WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {in_line}
                          AND id < NEW.id));
"""


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
        "in_line": IN_LINE.format(""),
        "along": ALONG.format(""),
        "owes": OWES.format(""),
        "is_given_back": "(consumed_at IS NULL AND queue = origin_queue)",
        "put_off": _PUT_OFF,
        "owed_a_call": OWED_A_CALL,
        "has_turn": HAS_TURN.format(""),
        "held_owes": OWES.format("held."),
        "held_has_turn": HAS_TURN.format("held."),
        "old_has_turn": HAS_TURN.format("OLD."),
        **{
            name.removeprefix("xclaim_"): qualified(name, schema)
            for name in (_GIVE_TURN, _UNFREE, _PASS_ON, _OWE, _GIVE_BACK, LINE_UP_NAME)
        },
    }
    made = (
        (_UNFREE, "of_ids bigint[]", "bigint[]", _UNFREE_BODY, False),
        (
            _GIVE_TURN,
            "of_queue text, of_key text, awaited bigint[], waits boolean",
            "boolean",
            _GIVE_TURN_BODY,
            False,
        ),
        (_OWE, "of_id bigint, awaited bigint[]", "void", _OWE_BODY, False),
        (_GIVE_BACK, "of_id bigint", "boolean", _GIVE_BACK_BODY, False),
        (_PASS_ON, "of_id bigint", "boolean", _PASS_ON_BODY, False),
        (LINE_UP_NAME, "ids bigint[]", "bigint[]", _LINE_UP_BODY, True),
        (PASS_OWED_NAME, "of_queue text", "integer", _PASS_OWED_BODY, True),
        ("xclaim_pass_turn", "", "trigger", _PASS_TURN_BODY, True),
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
        f"{updated} AFTER UPDATE OF status, queue": _CAN_CHANGE,
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
        "in_line": IN_LINE.format(""),
        "along": ALONG.format(""),
        "has_turn": HAS_TURN.format(""),
        "given_back": _GIVEN_BACK,
    }
    of_new = _SQLITE_GIVE_TURN.format(row="NEW", **parts)
    of_old = _SQLITE_GIVE_TURN.format(row="OLD", **parts)
    forget = (_SQLITE_FORGET + _SQLITE_GIVE_BACK).format(**parts)
    of = {
        f"{inserted} AFTER INSERT": (IN_LINE.format("NEW."), of_new),
        f"{updated} AFTER UPDATE OF status, queue": (_CAN_CHANGE, f"{forget} {of_old}"),
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
