"""How the turn of an ordering key is passed on: the bodies of the triggers and functions.

A message with an ordering key has the turn of its key, or stands in line: ``available_at`` is NULL
then. Whatever ends the one that has the turn (an ack, its death, a DELETE by hand) passes it on, in
the same transaction, by a trigger (docs/adr/0057).

Who claims whole lines claims those behind the message with the turn along with it: they are
``claimed`` and have no ``available_at``, so of a key still one has the turn. Nobody else claims one
of a batch before all of it have ended: the turn of one that ends or is given back goes to another
one of its batch first (docs/adr/0066).

In braces are the table, the functions and the conditions, which ``sql/ordering.py`` fills in.
"""

from __future__ import annotations

IN_LINE = "{0}ordering_key IS NOT NULL AND {0}status = 'available' AND {0}available_at IS NULL"
# Claimed along with the message that has the turn.
ALONG = "{0}ordering_key IS NOT NULL AND {0}status = 'claimed' AND {0}available_at IS NULL"
# A holder that has ended, or was given back, and could not pass its turn on. It awaits itself at
# least; `due_at` is when it is tried again.
OWES = "{0}awaited_ids IS NOT NULL AND {0}due_at IS NOT NULL AND {0}available_at IS NOT NULL"

OWED_A_CALL = 100  # short locks
IS_SEEN = "XCSEE"  # a condition of ours, of which nobody outside of its function hears

# The turn of a line that nobody leads to one that was claimed along with its holder, else to the
# first in line. Which of a batch has it is the same to all: one that nobody is just settling. True:
# it has it. False: nobody is in line. NULL: who could have it is locked, by who is just settling or
# withdrawing it; `waits` for that instead.
GIVE_TURN_BODY = """
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
UNFREE_BODY = """
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
OWE_BODY = """
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
PASS_ON_BODY = """
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
GIVE_BACK_BODY = """
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
PASS_OWED_BODY = """
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
LINE_UP_BODY = """
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
        -- new snapshot it is seen whether it still leads. Where the snapshot stays, this fails. Of
        -- it only that is wanted: it is undone, lest nobody claims or acks the holder until the
        -- commit. The lock of before stays.
        IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
            BEGIN
                PERFORM FROM {table} WHERE id = ANY (locked) FOR SHARE;
                RAISE SQLSTATE '{is_seen}';
            EXCEPTION WHEN SQLSTATE '{is_seen}' THEN
            END;
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

PASS_TURN_BODY = """
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
ENDED = "OLD.consumed_at IS NULL AND NEW.consumed_at IS NOT NULL"
GIVEN_BACK = (
    "OLD.status = 'claimed' AND NEW.status = 'available'"
    " AND OLD.queue = NEW.queue AND NEW.queue = NEW.origin_queue"
)
CAN_CHANGE = (
    "OLD.ordering_key IS NOT NULL AND (OLD.queue <> NEW.queue"
    f" OR OLD.available_at IS NOT NULL AND ({ENDED} OR {GIVEN_BACK}))"
)
# What was given back, or redriven, and does not hand its turn on yet, is out of reach for so long.
PUT_OFF = "interval '87600 hours'"

# SQLite has one writer at a time: nobody writes behind anybody, and nothing is owed.
SQLITE_GIVE_TURN = """
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
SQLITE_FORGET = """
    UPDATE {table} SET keeps_turn = NULL
     WHERE id = NEW.id AND keeps_turn
       AND (consumed_at IS NOT NULL OR queue NOT IN (origin_queue, origin_queue || '.dead'));
"""
SQLITE_GIVE_BACK = """
    UPDATE {table} SET available_at = NULL, due_at = coalesce(available_at, due_at)
     WHERE id = NEW.id AND OLD.available_at IS NOT NULL AND {given_back}
       AND (EXISTS (SELECT 1 FROM {table}
                     WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {along})
            OR EXISTS (SELECT 1 FROM {table}
                        WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {in_line}
                          AND id < NEW.id));
"""
