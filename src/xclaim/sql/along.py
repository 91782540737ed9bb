"""What a batch of one line needs in the database, beside what ``sql/ordering.py`` makes.

Who claims whole lines claims the message with the turn and, along with it, those behind it: they
are ``claimed`` and have no ``available_at``. So of a line still one has the turn, and nobody else
claims one of it before all of the batch have ended: what ends or is given back hands the turn on
within the batch first (docs/adr/0066).
"""

from __future__ import annotations

ALONG_NAME = "ix_xclaim_message_along"
ALONG = "{0}ordering_key IS NOT NULL AND {0}status = 'claimed' AND {0}available_at IS NULL"
HELD_NAME = "ix_xclaim_message_held"
# A dead letter that is to hold its line, and waits for the turn: others of its batch have it.
HELD = (
    "{0}keeps_turn AND {0}due_at IS NOT NULL AND {0}awaited_ids IS NULL"
    " AND {0}available_at IS NOT NULL AND {0}consumed_at IS NULL"
)
GIVEN_BACK = "OLD.status = 'claimed' AND NEW.status = 'available'"
# It was claimed along, and its claim has ended in another way than by an ack.
LEAVES_A_BATCH = (
    "OLD.status = 'claimed' AND OLD.available_at IS NULL AND NEW.status = 'available'"
    " AND (NEW.queue <> OLD.queue OR NEW.available_at IS NOT NULL)"
)

# What uq_xclaim_message_turn leaves out for a moment could be claimed beside the holder. It never
# stays so: a trigger repairs it where it is given back, and nobody can write it in another way.
_SECOND = (
    "NEW.ordering_key IS NOT NULL AND NEW.available_at IS NOT NULL AND NEW.due_at IS NOT NULL"
    " AND NEW.awaited_ids IS NULL AND NEW.consumed_at IS NULL AND NEW.queue = NEW.origin_queue"
)
GUARDS = {
    "UPDATE OF queue, available_at, due_at, awaited_ids": f"{_SECOND} AND NOT ({GIVEN_BACK})",
    "INSERT": _SECOND,
}
GUARD_BODY = """
BEGIN
    RAISE unique_violation
    USING MESSAGE = 'message ' || NEW.id || ' stands in line, and cannot be claimed beside another',
        HINT = 'leave available_at NULL: a trigger gives it the turn';
END
"""
SQLITE_GUARD = "SELECT RAISE(ABORT, 'UNIQUE constraint failed: it stands in line');"

# The turn of a holder to one that was claimed along with it. Which of them has it is the same to
# all: one that nobody is just settling. True: it has it. False: there is none. NULL: all of them
# are being settled, this moment; `waits` for that.
HAND_ON_BODY = """
DECLARE
    next_id bigint;
BEGIN
    LOOP
        SELECT id INTO next_id FROM {table}
         WHERE queue = of_queue AND ordering_key = of_key AND {along}
         ORDER BY queue, ordering_key, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE {table}
               SET available_at = statement_timestamp(), due_at = NULL,
                   awaited_ids = nullif(awaited, '{{}}')
             WHERE id = next_id;
            RETURN true;
        END IF;
        SELECT id INTO next_id FROM {table}
         WHERE queue = of_queue AND ordering_key = of_key AND {along}
         ORDER BY queue, ordering_key, id LIMIT 1;
        IF NOT FOUND THEN
            RETURN false;
        ELSIF NOT waits THEN
            RETURN NULL;
        END IF;
        PERFORM FROM {table} WHERE id = next_id FOR NO KEY UPDATE;
    END LOOP;
END
"""

# A holder is given back. While others of its batch are claimed one of them takes the turn over, and
# it stands in line; after the last of them the turn is for the first in line. If it cannot be
# handed on now, it stays with a holder that cannot be claimed, and is owed.
GIVE_BACK_BODY = """
DECLARE
    holder record;
    unfree bigint[];
    is_given boolean;
BEGIN
    SELECT origin_queue, ordering_key, coalesce(due_at, available_at) AS due_at, awaited_ids,
           due_at IS NOT NULL AS owes
      INTO holder FROM {table} WHERE id = of_id;
    IF NOT holder.owes
       AND NOT EXISTS (SELECT FROM {table}
                        WHERE queue = holder.origin_queue AND ordering_key = holder.ordering_key
                          AND {along})
       AND NOT EXISTS (SELECT FROM {table}
                        WHERE queue = holder.origin_queue AND ordering_key = holder.ordering_key
                          AND {in_line} AND id < of_id)
       AND NOT EXISTS (SELECT FROM {table}
                        WHERE origin_queue = holder.origin_queue
                          AND ordering_key = holder.ordering_key AND {held} AND id < of_id) THEN
        RETURN false;
    END IF;
    unfree := {unfree}(holder.awaited_ids || of_id);
    UPDATE {table} SET available_at = NULL, due_at = holder.due_at, awaited_ids = NULL
     WHERE id = of_id;
    is_given := {give_turn}(holder.origin_queue, holder.ordering_key, unfree, false);
    IF is_given THEN
        RETURN true;
    END IF;
    UPDATE {table}
       SET available_at = greatest(due_at, clock_timestamp()) + interval '10 years',
           due_at = greatest(due_at, clock_timestamp() + interval '50 milliseconds'),
           awaited_ids = array_append(array_remove(unfree, of_id), of_id)
     WHERE id = of_id;
    RETURN false;
END
"""

# It was claimed along. Given back it stands in line again, at its place. As a dead letter that
# holds its line it waits for the turn, which it gets when the batch has ended. A holder that the
# same statement has given back before it looks again whether it is the first.
LEAVE_BODY = """
DECLARE
    holder_id bigint;
BEGIN
    UPDATE {table}
       SET available_at = CASE WHEN queue <> origin_queue
                               THEN coalesce(available_at, statement_timestamp()) END,
           due_at = CASE WHEN queue = origin_queue OR {holds} THEN coalesce(available_at, due_at)
                         END
     WHERE id = of_id AND due_at IS NOT NULL;
    SELECT held.id INTO holder_id
      FROM {table} AS given
      JOIN {table} AS held USING (origin_queue, ordering_key)
     WHERE given.id = of_id AND held.id > of_id AND {held_has_turn}
       AND held.status = 'available' AND held.queue = held.origin_queue AND held.due_at IS NULL;
    IF FOUND THEN
        PERFORM {give_back}(holder_id);
    END IF;
END
"""
HOLDS = "queue = origin_queue || '.dead' AND keeps_turn IS TRUE"

# SQLite has one writer at a time: nobody is just settling anything.
SQLITE_LEAVE = """
    UPDATE {table}
       SET available_at = CASE WHEN queue <> origin_queue THEN
                               coalesce(available_at, strftime('%Y-%m-%d %H:%M:%f', 'now')) END,
           due_at = CASE WHEN queue = origin_queue OR {holds} THEN coalesce(available_at, due_at)
                         END
     WHERE id = NEW.id AND {leaves};
"""
SQLITE_GIVE_BACK = """
    UPDATE {table} SET available_at = NULL, due_at = available_at
     WHERE id = NEW.id AND {given_back} AND OLD.available_at IS NOT NULL
       AND NEW.queue = OLD.queue AND NEW.queue = NEW.origin_queue
       AND (EXISTS (SELECT 1 FROM {table}
                     WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {along})
            OR EXISTS (SELECT 1 FROM {table}
                        WHERE queue = NEW.queue AND ordering_key = NEW.ordering_key AND {in_line}
                          AND id < NEW.id)
            OR EXISTS (SELECT 1 FROM {table}
                        WHERE origin_queue = NEW.queue AND ordering_key = NEW.ordering_key
                          AND {held} AND id < NEW.id));
"""
