-- What xclaim sends to postgresql; written by `python -m tests.sql_docs`.
-- Each function, operator and type is sent by its full name: pg_catalog.count(*), pg_catalog.text,
-- a OPERATOR(pg_catalog.=) b. Here are the short ones, for people.

-- push
-- Insert the payloads in their order, and return what the producer does not know.
WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
      max_attempts, created_at, available_at) SELECT %(queue_name)s::text AS queue, %(queue_name)s::text AS
      origin_queue, %(message_priority)s::SMALLINT AS priority, item.payload AS payload,
      CAST(%(message_headers)s::text AS jsonb) AS headers, CAST(NULL AS text) AS unique_key,
      %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at, statement_timestamp()
      + (%(delay_seconds)s::DOUBLE PRECISION * interval '1 second') AS available_at
    FROM jsonb_array_elements(CAST(%(payloads)s::text AS jsonb)) WITH ORDINALITY AS item(payload, position)
    ORDER BY item.position
    RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at) SELECT
      array_agg(pushed.id
    ORDER BY pushed.id) AS ids, min(pushed.created_at) AS created_at, min(pushed.available_at) AS available_at
    FROM pushed;

-- push_once
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS jsonb) AS payload, CASE WHEN (item.unique_key <>
      '') THEN item.unique_key END AS unique_key, item.position AS position
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS
      item(payload, unique_key, position)), existing AS MATERIALIZED (SELECT taken.id AS id, taken.queue AS
      queue, taken.origin_queue AS origin_queue, taken.status AS status, taken.priority AS priority,
      CAST(taken.payload AS text) AS payload, CAST(taken.headers AS text) AS headers, taken.unique_key AS
      unique_key, taken.attempts AS attempts, taken.max_attempts AS max_attempts,
      least(greatest(taken.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at,
      CASE WHEN (taken.available_at IS NOT NULL) THEN least(greatest(taken.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN (taken.claimed_at IS NOT NULL)
      THEN least(greatest(taken.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (taken.claim_expires_at IS NOT NULL) THEN least(greatest(taken.claim_expires_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN
      (taken.consumed_at IS NOT NULL) THEN least(greatest(taken.consumed_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS consumed_at, taken.claimed_by AS claimed_by, taken.consumed_by AS
      consumed_by, taken.claim_key AS claim_key, taken.last_error AS last_error, taken.last_error_class AS
      last_error_class, taken.codec AS codec, taken.ordering_key AS ordering_key, taken.payload =
      incoming.payload AND taken.codec IS NULL AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::text AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at) SELECT
      %(queue_name)s::text AS queue, %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS
      priority, incoming.payload AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers,
      CAST(incoming.unique_key AS text) AS unique_key, %(attempts_limit)s::INTEGER AS max_attempts,
      statement_timestamp() AS created_at, statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION *
      interval '1 second') AS available_at
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec,
      existing.ordering_key, existing.is_same, false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, pushed.ordering_key, true AS is_same, true AS is_new
    FROM pushed;

-- clashing_keys
-- Return the unique keys that are taken by another payload.
SELECT xclaim_message.unique_key
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS
      item(payload, unique_key, position) JOIN xclaim_message ON xclaim_message.origin_queue =
      %(queue_name)s::text AND xclaim_message.unique_key = item.unique_key AND (xclaim_message.payload <>
      CAST(item.payload AS jsonb) OR xclaim_message.codec IS NOT NULL);

-- backlog
-- Return the limit of the queue, and how many messages wait in it: at most one more than that.
SELECT (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text) AS max_backlog, (SELECT xclaim_queue.on_full
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text) AS on_full, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL
    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
      xclaim_message.id
    LIMIT coalesce(%(asked_backlog)s::INTEGER, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text), -1) + 1) AS anon_1) + 0 AS waiting;

-- set_backlog
-- Set how many messages may wait in the queue, or with NULL that any number may.
INSERT INTO xclaim_queue (queue, max_backlog, on_full) VALUES (%(queue_name)s::text, %(max_backlog)s::INTEGER,
      %(on_full)s::text)
    ON CONFLICT (queue) DO UPDATE
    SET max_backlog = excluded.max_backlog, on_full = excluded.on_full
    RETURNING xclaim_queue.max_backlog, xclaim_queue.on_full;

-- limited_backlogs
-- Return the queues with a limit of what may wait, by name, and what a push does at that.
SELECT xclaim_queue.queue, xclaim_queue.max_backlog, xclaim_queue.on_full
    FROM xclaim_queue
    WHERE xclaim_queue.max_backlog IS NOT NULL
    ORDER BY xclaim_queue.queue;

-- claim
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 1) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim_one
-- Claim this very message, or take it back from an earlier attempt of the same claim key.
WITH taken AS MATERIALIZED (SELECT wanted.id AS id
    FROM xclaim_message AS wanted
    WHERE wanted.id = %(message_id)s::BIGINT AND wanted.queue = %(queue_name)s::text AND (wanted.status =
      'available' AND wanted.available_at <= statement_timestamp() AND NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL))) OR wanted.status = 'claimed'
      AND wanted.claim_key = %(key)s::text AND wanted.claimed_by <> %(claimant)s::text AND NOT
      coalesce(wanted.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER ELSE
      wanted.max_attempts END, 1 = 0)) AND CASE WHEN (wanted.consumed_at IS NOT NULL) THEN false ELSE true END
      FOR NO KEY UPDATE) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM taken))) AND xclaim_message.status <> 'consumed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- limit
-- Set the limits of the queue; what is None has none.
INSERT INTO xclaim_queue (queue, concurrency, rate, rate_seconds, burst) VALUES (%(queue_name)s::text,
      %(concurrency)s::INTEGER, %(rate)s::INTEGER, %(rate_seconds)s::DOUBLE PRECISION, %(burst)s::INTEGER)
    ON CONFLICT (queue) DO UPDATE
    SET concurrency = excluded.concurrency, rate = excluded.rate, rate_seconds = excluded.rate_seconds, burst
      = excluded.burst
    RETURNING xclaim_queue.concurrency, xclaim_queue.rate, xclaim_queue.rate_seconds, xclaim_queue.burst;

-- limits
-- Return the limits of the queue; nothing if it has none.
SELECT xclaim_queue.concurrency, xclaim_queue.rate, xclaim_queue.rate_seconds, xclaim_queue.burst
    FROM xclaim_queue
    WHERE (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL) AND xclaim_queue.queue =
      %(queue_name)s::text;

-- add_slots
-- Make the slots of a kind that are not there yet, so many in all; no row of an older one.
INSERT INTO xclaim_slot (queue, kind, slot) SELECT %(queue_name)s::text AS anon_1, %(kind)s::text AS anon_2,
      item.slot
    FROM unnest(CAST(%(slots)s::text AS SMALLINT[])) WITH ORDINALITY AS item(slot, position)
    ON CONFLICT (queue, kind, slot) DO NOTHING
    RETURNING xclaim_slot.slot;

-- vacancy
-- Return how many more claims may begin now, as far as can be seen without a lock.
SELECT CASE WHEN (xclaim_queue.paused_at IS NOT NULL) THEN least(greatest(xclaim_queue.paused_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS paused_at, xclaim_queue.paused_by, xclaim_queue.reason,
      xclaim_queue.concurrency, xclaim_queue.rate, xclaim_queue.rate_seconds, xclaim_queue.burst,
      xclaim_queue.concurrency - (SELECT count(*) AS count_1
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = %(queue_name)s::text AND claimed_one.claim_expires_at IS NOT NULL AND
      claimed_one.claim_expires_at > statement_timestamp() AND claimed_one.status = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT xclaim_queue.concurrency
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text), 0)) AS claimed_ones) AS at_once, CASE WHEN
      (xclaim_queue.rate IS NOT NULL) THEN (SELECT count(*) AS count_2
    FROM xclaim_slot
    WHERE xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = 'rate' AND xclaim_slot.slot <
      xclaim_queue.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <= (statement_timestamp() +
      (((- ((CAST(xclaim_queue.burst AS DOUBLE PRECISION) * xclaim_queue.rate_seconds) / xclaim_queue.rate)))
      * interval '1 second')))) END AS begun, ((CAST(xclaim_queue.burst AS DOUBLE PRECISION) *
      xclaim_queue.rate_seconds) / xclaim_queue.rate) - (SELECT CAST(CASE WHEN
      isfinite(min(xclaim_slot.taken_at)) THEN EXTRACT(epoch
    FROM statement_timestamp() - min(xclaim_slot.taken_at)) END AS DOUBLE PRECISION) AS anon_1
    FROM xclaim_slot
    WHERE xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = 'rate' AND xclaim_slot.slot <
      xclaim_queue.burst) AS due_in
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL);

-- take_back
-- Take back what an earlier attempt of the same claim key holds, and claim nothing anew.
WITH resumable AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = %(key)s::text AND held.queue = %(queue_name)s::text AND held.status = 'claimed' AND
      held.claimed_by <> %(claimant)s::text AND NOT coalesce(held.attempts >= CASE WHEN
      %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0) AND CASE WHEN
      (held.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY held.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT resumable.id
    FROM resumable))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- resume
-- Take over what a ticket hands on, or take back what an earlier attempt took over with it.
WITH taken AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = ANY (ARRAY[%(handed_on_key)s::text, %(key)s::text]) AND held.queue =
      %(queue_name)s::text AND held.status = 'claimed' AND (held.claim_key = %(handed_on_key)s::text AND
      held.claimed_by = %(handed_on_by)s::text OR held.claim_key = %(key)s::text AND held.claimed_by <>
      %(claimant)s::text AND NOT coalesce(held.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0)) AND CASE WHEN (held.consumed_at IS NOT
      NULL) THEN false ELSE true END
    ORDER BY held.id FOR NO KEY UPDATE) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + CASE WHEN
      (xclaim_message.claim_key = %(key)s::text) THEN 1 ELSE 0 END ELSE 2147483647 END,
      claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() + (%(lease_seconds)s::DOUBLE
      PRECISION * interval '1 second')), claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA)
      || int8send(xclaim_message.id)), 1, 16), 'hex') AS uuid), status='claimed',
      claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM taken))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- ack
-- Consume the claimed message. By the primary key, so that no partial index is walked.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id;

-- ack_many
-- Consume each claimed message that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    FROM unnest(CAST(%(ids)s::text AS BIGINT[]), CAST(%(tokens)s::text AS uuid[])) WITH ORDINALITY AS item(id,
      token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- ack_reduced
-- Consume each claimed message that is still held, and leave less of its payload.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL, codec=CAST(CASE WHEN (item.codec
      <> '') THEN item.codec END AS text), payload=CAST(item.payload AS jsonb)
    FROM unnest(CAST(%(ids)s::text AS BIGINT[]), CAST(%(tokens)s::text AS uuid[]), CAST(%(payloads)s::text AS
      text[]), CAST(%(codecs)s::text AS text[])) WITH ORDINALITY AS item(id, token, payload, codec, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- note_failure
-- Keep the error of an attempt and the claim, whose lease ends so long from now.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + (%(lease_seconds)s::DOUBLE PRECISION * interval '1
      second')), last_error=%(error)s::text, last_error_class=%(error_class)s::text, failures=(SELECT CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-
      MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text),
      'error_class', %(error_class)s::text, 'error', substr(%(error)s::text, 1, 1000))) AS anon_1)
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key;

-- hand_back
-- Make claimed messages available again, at their places, and take the attempts back.
UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=NULL
    FROM unnest(CAST(%(ids)s::text AS BIGINT[]), CAST(%(tokens)s::text AS uuid[])) WITH ORDINALITY AS item(id,
      token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- extend
-- Set the end of the lease, counted from now.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second'))
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.claim_expires_at;

-- extend_many
-- Set the end of the lease of each claim that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second'))
    FROM unnest(CAST(%(ids)s::text AS BIGINT[]), CAST(%(tokens)s::text AS uuid[])) WITH ORDINALITY AS item(id,
      token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- any_lapsed
-- Return a row if the queue may have lapsed claims: what is read first by a new process.
SELECT 1 AS may_have_lapsed
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.claim_expires_at <=
      statement_timestamp()
    ORDER BY xclaim_message.claim_expires_at
    LIMIT 1;

-- expire
-- Give back lapsed claims, after a pause that began with the claim, or as dead letters.
WITH RECURSIVE ends(ends_at) AS (SELECT (SELECT first_end.claim_expires_at
    FROM xclaim_message AS first_end
    WHERE first_end.queue = %(queue_name)s::text AND first_end.claim_expires_at <= statement_timestamp() AND
      first_end.status = 'claimed' AND CASE WHEN (first_end.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY first_end.claim_expires_at
    LIMIT 1) AS ends_at
    UNION ALL SELECT (SELECT later_end.claim_expires_at
    FROM xclaim_message AS later_end
    WHERE later_end.queue = %(queue_name)s::text AND later_end.claim_expires_at <= statement_timestamp() AND
      later_end.claim_expires_at > ends.ends_at AND later_end.status = 'claimed' AND CASE WHEN
      (later_end.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY later_end.claim_expires_at
    LIMIT 1) AS anon_4
    FROM ends
    WHERE ends.ends_at IS NOT NULL), lapsed AS MATERIALIZED (SELECT of_end.id AS id
    FROM ends JOIN LATERAL (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = %(queue_name)s::text AND held.status = 'claimed' AND CASE WHEN (held.consumed_at IS NOT
      NULL) THEN false ELSE true END AND held.claim_expires_at = ends.ends_at FOR NO KEY UPDATE SKIP LOCKED)
      AS of_end ON true
    LIMIT %(message_limit)s::INTEGER) UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN
      THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
      %(dead_letter_queue)s::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN
      NULL ELSE greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
      (CAST(CAST(%(pauses)s::text AS jsonb) ->> (greatest(least(xclaim_message.attempts,
      %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0 - (%(jitter)s::DOUBLE PRECISION *
      ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval
      '1 second')) END AS anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> %(dead_letter_queue)s::text)
      THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN greatest(statement_timestamp(),
      least(statement_timestamp(), xclaim_message.claimed_at) + (CAST(CAST(%(pauses)s::text AS jsonb) ->>
      (greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0
      - (%(jitter)s::DOUBLE PRECISION * ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0
      AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END AS anon_2),
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'attempt',
      1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'error', 1, 4096) END ELSE 'lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text) END, last_error_class=CASE WHEN coalesce(CASE
      WHEN (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END = CAST(CAST(xclaim_message.attempts
      AS INTEGER) AS text) AND CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY
      (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END
      = CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error_class') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'error_class', 1, 4096) END ELSE 'LeaseExpired' END,
      failures=(SELECT CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'attempt',
      1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN xclaim_message.failures ELSE CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-
      MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text),
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1, 1000))) END AS anon_3), queue=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) THEN %(dead_letter_queue)s::text ELSE xclaim_message.queue
      END
    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
    FROM lapsed))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts, CASE WHEN
      (xclaim_message.available_at IS NOT NULL) THEN least(greatest(xclaim_message.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at;

-- expire_others
-- Give back lapsed claims but for those of a claim key, which takes them back itself.
WITH RECURSIVE ends(ends_at) AS (SELECT (SELECT first_end.claim_expires_at
    FROM xclaim_message AS first_end
    WHERE first_end.queue = %(queue_name)s::text AND first_end.claim_expires_at <= statement_timestamp() AND
      first_end.status = 'claimed' AND CASE WHEN (first_end.consumed_at IS NOT NULL) THEN false ELSE true END
      AND NOT coalesce(first_end.claim_key = %(key)s::text, first_end.claim_key IS NULL AND %(key)s::text IS
      NULL)
    ORDER BY first_end.claim_expires_at
    LIMIT 1) AS ends_at
    UNION ALL SELECT (SELECT later_end.claim_expires_at
    FROM xclaim_message AS later_end
    WHERE later_end.queue = %(queue_name)s::text AND later_end.claim_expires_at <= statement_timestamp() AND
      later_end.claim_expires_at > ends.ends_at AND later_end.status = 'claimed' AND CASE WHEN
      (later_end.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT coalesce(later_end.claim_key =
      %(key)s::text, later_end.claim_key IS NULL AND %(key)s::text IS NULL)
    ORDER BY later_end.claim_expires_at
    LIMIT 1) AS anon_4
    FROM ends
    WHERE ends.ends_at IS NOT NULL), lapsed AS MATERIALIZED (SELECT of_end.id AS id
    FROM ends JOIN LATERAL (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = %(queue_name)s::text AND held.status = 'claimed' AND CASE WHEN (held.consumed_at IS NOT
      NULL) THEN false ELSE true END AND NOT coalesce(held.claim_key = %(key)s::text, held.claim_key IS NULL
      AND %(key)s::text IS NULL) AND held.claim_expires_at = ends.ends_at FOR NO KEY UPDATE SKIP LOCKED) AS
      of_end ON true
    LIMIT %(message_limit)s::INTEGER) UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN
      THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
      %(dead_letter_queue)s::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN
      NULL ELSE greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
      (CAST(CAST(%(pauses)s::text AS jsonb) ->> (greatest(least(xclaim_message.attempts,
      %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0 - (%(jitter)s::DOUBLE PRECISION *
      ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval
      '1 second')) END AS anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> %(dead_letter_queue)s::text)
      THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN greatest(statement_timestamp(),
      least(statement_timestamp(), xclaim_message.claimed_at) + (CAST(CAST(%(pauses)s::text AS jsonb) ->>
      (greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0
      - (%(jitter)s::DOUBLE PRECISION * ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0
      AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END AS anon_2),
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'attempt',
      1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'error', 1, 4096) END ELSE 'lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text) END, last_error_class=CASE WHEN coalesce(CASE
      WHEN (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END = CAST(CAST(xclaim_message.attempts
      AS INTEGER) AS text) AND CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY
      (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END
      = CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error_class') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'error_class', 1, 4096) END ELSE 'LeaseExpired' END,
      failures=(SELECT CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'attempt',
      1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string', 'number'])) THEN
      substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN xclaim_message.failures ELSE CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-
      MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text),
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1, 1000))) END AS anon_3), queue=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) THEN %(dead_letter_queue)s::text ELSE xclaim_message.queue
      END
    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
    FROM lapsed))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts, CASE WHEN
      (xclaim_message.available_at IS NOT NULL) THEN least(greatest(xclaim_message.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at;

-- redrive
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::text AND letter.status = 'available' AND letter.available_at
      >= '-infinity' AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (xclaim_message.ordering_key IS NOT NULL AND
      xclaim_message.origin_queue = %(queue_name)s::text) THEN NULL ELSE statement_timestamp() END AS anon_1),
      attempts=0, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=NULL, queue=%(queue_name)s::text
    WHERE xclaim_message.id = ANY (array((SELECT dead.id
    FROM dead))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- prune
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::text AND "old".status = 'consumed' AND "old".consumed_at <=
      (statement_timestamp() + (((- CAST(%(age_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER FOR NO KEY UPDATE SKIP LOCKED) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT pruned.id
    FROM pruned))) AND xclaim_message.status = 'consumed'
    RETURNING xclaim_message.id;

-- redrivable
-- Count the dead letters that ``redrive`` would move.
SELECT count(*) AS messages
    FROM (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::text AND letter.status = 'available' AND letter.available_at
      >= '-infinity' AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER) AS chosen;

-- prunable
-- Count the messages that ``prune`` would delete.
SELECT count(*) AS messages
    FROM (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::text AND "old".status = 'consumed' AND "old".consumed_at <=
      (statement_timestamp() + (((- CAST(%(age_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER) AS chosen;

-- withdraw
-- Delete the messages under these unique keys that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = %(queue_name)s::text AND xclaim_message.unique_key = ANY
      (array((SELECT item.unique_key
    FROM unnest(CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS item(unique_key, position)))) AND
      xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- withdraw_by_id
-- Delete the messages with these ids that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position)))) AND
      (xclaim_message.origin_queue = %(queue_name)s::text OR xclaim_message.queue = %(queue_name)s::text) AND
      xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- peek
-- Return the messages that would be claimed next, without claiming them.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), upcoming AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT %(message_limit)s::INTEGER) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT %(message_limit)s::INTEGER) AS behind
    LIMIT %(message_limit)s::INTEGER) SELECT xclaim_message.id, xclaim_message.queue,
      xclaim_message.origin_queue, xclaim_message.status, xclaim_message.priority, CAST(xclaim_message.payload
      AS text) AS payload, CAST(xclaim_message.headers AS text) AS headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, least(greatest(xclaim_message.created_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN
      (xclaim_message.available_at IS NOT NULL) THEN least(greatest(xclaim_message.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN (xclaim_message.claimed_at IS
      NOT NULL) THEN least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29
      00:00:00+00') END AS claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT upcoming.id
    FROM upcoming)))
    ORDER BY xclaim_message.priority DESC, xclaim_message.available_at, xclaim_message.id;

-- clock
-- Return the time of the database, under the name of a column that is read as a time.
SELECT statement_timestamp() AS available_at;

-- newest
-- Return when the newest of the messages that can be claimed now became available.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.paused_at IS NOT NULL))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL) SELECT CASE WHEN (max(newest.available_at) IS NOT NULL) THEN
      least(greatest(max(newest.available_at), '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at
    FROM (SELECT (SELECT waiting.available_at
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND waiting.available_at >= '-infinity'
    ORDER BY waiting.available_at DESC
    LIMIT 1) AS available_at
    FROM level) AS newest;

-- get
-- Return the message if it is in the queue or was pushed to it.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::text OR
      xclaim_message.origin_queue = %(queue_name)s::text);

-- get_many
-- Return the messages with these ids, whatever their queue.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position))));

-- failures
-- Return what failed attempts at the message have left.
SELECT CAST(xclaim_message.failures AS text) AS failures
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::text OR
      xclaim_message.origin_queue = %(queue_name)s::text);

-- spent
-- Return what earlier attempts of the same claim key have used up: dead, or about to be.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.claim_key = %(key)s::text AND (xclaim_message.queue = %(dead_letter_queue)s::text AND
      xclaim_message.status = 'available' OR xclaim_message.queue = %(queue_name)s::text AND
      xclaim_message.status = 'claimed' AND xclaim_message.claimed_by <> %(claimant)s::text AND
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0))
    ORDER BY xclaim_message.id DESC
    LIMIT %(message_limit)s::INTEGER;

-- find
-- Return the messages that were pushed to the queue under these unique keys.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = %(queue_name)s::text AND xclaim_message.unique_key = ANY
      (array((SELECT item.unique_key
    FROM unnest(CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS item(unique_key, position))));

-- counts
-- Count the messages of the queue, and of its dead-letter queue, by state.
SELECT count(*) FILTER (WHERE NOT (xclaim_message.queue = %(dead_letter_queue)s::text AND xclaim_message.queue
      <> %(queue_name)s::text) AND xclaim_message.available_at <= statement_timestamp()) AS available,
      count(*) FILTER (WHERE NOT (xclaim_message.queue = %(dead_letter_queue)s::text AND xclaim_message.queue
      <> %(queue_name)s::text) AND xclaim_message.available_at > statement_timestamp()) AS delayed, (SELECT
      count(*) AS count_1
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.status = 'claimed' AND xclaim_message.claim_expires_at IS NOT NULL) AS claimed, (SELECT
      count(*) AS count_2
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.consumed_at IS NOT NULL) AS consumed, count(*) FILTER (WHERE xclaim_message.queue =
      %(dead_letter_queue)s::text AND xclaim_message.queue <> %(queue_name)s::text) AS dead_letters, CASE WHEN
      (to_regclass(%(index_name)s::text) IS NOT NULL) THEN (SELECT count(*) AS count_3
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL AND
      xclaim_message.ordering_key IS NOT NULL) ELSE 0 END AS in_line
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity';

-- failing_messages
-- Return the messages of the queue that failed and are tried again, the next try first.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.attempts > 0
    ORDER BY xclaim_message.available_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- failing_queues
-- Count by queue and class of the last error what is tried again. It reads the claim index.
SELECT xclaim_message.queue, xclaim_message.last_error_class, count(*) AS messages, CASE WHEN
      (min(xclaim_message.available_at) IS NOT NULL) THEN least(greatest(min(xclaim_message.available_at),
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, max(xclaim_message.attempts)
      AS attempts
    FROM xclaim_message
    WHERE xclaim_message.attempts > 0 AND xclaim_message.status = 'available' AND xclaim_message.available_at
      >= '-infinity' AND xclaim_message.queue !~~ '%%.dead' GROUP BY xclaim_message.queue,
      xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- is_known
-- Return whether the queue, or its dead-letter queue, has a message, whatever its status.
SELECT (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity')) OR (EXISTS (SELECT
      xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.claim_expires_at IS NOT NULL)) OR (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue = ANY (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text]) AND
      xclaim_message.consumed_at IS NOT NULL)) AS is_known;

-- receipt
-- Return the message with the token of the claim that is on it now, NULL if there is none.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key, xclaim_message.claim_token
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::text OR
      xclaim_message.origin_queue = %(queue_name)s::text);

-- queue_stats
-- Return the lines of the view for people, by name of queue; ages in seconds.
SELECT xclaim_queue_stats.queue, xclaim_queue_stats.available, xclaim_queue_stats.delayed,
      xclaim_queue_stats.claimed, xclaim_queue_stats.consumed, xclaim_queue_stats.dead_letters,
      xclaim_queue_stats.in_line, CAST(round(EXTRACT(epoch
    FROM xclaim_queue_stats.oldest_available_age), 3) AS DOUBLE PRECISION) AS oldest_available_age,
      CAST(round(EXTRACT(epoch
    FROM xclaim_queue_stats.oldest_claim_age), 3) AS DOUBLE PRECISION) AS oldest_claim_age,
      xclaim_queue_stats.retrying, xclaim_queue_stats.head_attempts, CASE WHEN (xclaim_queue_stats.next_try_at
      IS NOT NULL) THEN least(greatest(xclaim_queue_stats.next_try_at, '0001-01-03 00:00:00+00'), '9999-12-29
      00:00:00+00') END AS next_try_at
    FROM xclaim_queue_stats
    ORDER BY xclaim_queue_stats.queue;

-- stuck_claims
-- Count by queue the claims whose lease ran out a while ago, and those held for very long.
SELECT xclaim_message.queue, count(*) FILTER (WHERE xclaim_message.claim_expires_at <= (statement_timestamp()
      + (((- CAST(%(lapsed_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))) AS lapsed,
      count(*) FILTER (WHERE xclaim_message.claimed_at <= (statement_timestamp() + (((-
      CAST(%(held_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))) AS held_long
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL GROUP BY xclaim_message.queue
    ORDER BY xclaim_message.queue;

-- dead_letters
-- Count the dead letters by queue and class of error. It reads the claim index to its end.
SELECT xclaim_message.queue, xclaim_message.last_error_class, count(*) AS letters
    FROM xclaim_message
    WHERE xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity' AND
      xclaim_message.queue ~~ '%%.dead' GROUP BY xclaim_message.queue, xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- stored_objects
-- Return which of the objects a message names, and the queue it was pushed to.
SELECT CASE WHEN (jsonb_typeof(xclaim_message.payload -> 'uri') = ANY (ARRAY['string', 'number'])) THEN
      substr(xclaim_message.payload ->> 'uri', 1, 4096) END AS uri, xclaim_message.origin_queue
    FROM xclaim_message
    WHERE xclaim_message.codec IS NOT NULL AND CASE WHEN (jsonb_typeof(xclaim_message.payload -> 'uri') = ANY
      (ARRAY['string', 'number'])) THEN substr(xclaim_message.payload ->> 'uri', 1, 4096) END = ANY
      (array((SELECT item.uri
    FROM unnest(CAST(%(uris)s::text AS text[])) WITH ORDINALITY AS item(uri, position))));

-- encrypted
-- Return messages whose payload is encrypted with another key, in the order of their ids.
SELECT xclaim_message.id, xclaim_message.status, xclaim_message.origin_queue, xclaim_message.unique_key,
      xclaim_message.codec, CAST(xclaim_message.payload AS text) AS payload
    FROM xclaim_message
    WHERE xclaim_message.id >= %(message_id)s::BIGINT AND xclaim_message.codec ~~ '%%fernet' AND NOT
      coalesce(CASE WHEN (jsonb_typeof(xclaim_message.payload -> 'key') = ANY (ARRAY['string', 'number']))
      THEN substr(xclaim_message.payload ->> 'key', 1, 4096) END = %(key_id)s::text, CASE WHEN
      (jsonb_typeof(xclaim_message.payload -> 'key') = ANY (ARRAY['string', 'number'])) THEN
      substr(xclaim_message.payload ->> 'key', 1, 4096) END IS NULL AND %(key_id)s::text IS NULL)
    ORDER BY xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- unencrypted
-- Count what is not consumed and not encrypted, by the queue that it was pushed to.
SELECT xclaim_message.origin_queue, count(*) AS messages
    FROM xclaim_message
    WHERE xclaim_message.status <> 'consumed' AND (xclaim_message.codec IS NULL OR xclaim_message.codec !~~
      '%%fernet') GROUP BY xclaim_message.origin_queue
    ORDER BY xclaim_message.origin_queue;

-- re_encrypt
-- Replace an encrypted payload, unless it has changed, or somebody has claimed it to read it.
UPDATE xclaim_message
    SET payload=CAST(%(payload_after)s::text AS jsonb)
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.payload =
      CAST(%(payload_before)s::text AS jsonb) AND xclaim_message.status <> 'claimed'
    RETURNING xclaim_message.id;

-- redrive, those with an error, of an age and with these ids
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::text AND letter.status = 'available' AND letter.available_at
      >= '-infinity' AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN false ELSE true END AND
      (letter.last_error_class = %(error)s::text OR substr(letter.last_error_class,
      length(letter.last_error_class) - length(%(error)s::text)) = ('.' || %(error)s::text) OR
      replace(letter.last_error, %(error)s::text, '') <> letter.last_error) AND letter.available_at <=
      (statement_timestamp() + (((- CAST(%(age_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))
      AND letter.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position))))
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (xclaim_message.ordering_key IS NOT NULL AND
      xclaim_message.origin_queue = %(queue_name)s::text) THEN NULL ELSE statement_timestamp() END AS anon_1),
      attempts=0, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=NULL, queue=%(queue_name)s::text
    WHERE xclaim_message.id = ANY (array((SELECT dead.id
    FROM dead))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- holders
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.claimed_by, xclaim_message.attempts, CASE WHEN
      (xclaim_message.claimed_at IS NOT NULL) THEN least(greatest(xclaim_message.claimed_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN (xclaim_message.claim_expires_at
      IS NOT NULL) THEN least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29
      00:00:00+00') END AS claim_expires_at, xclaim_message.claim_key, xclaim_message.last_error_class,
      xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- holders, of a queue
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.claimed_by, xclaim_message.attempts, CASE WHEN
      (xclaim_message.claimed_at IS NOT NULL) THEN least(greatest(xclaim_message.claimed_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN (xclaim_message.claim_expires_at
      IS NOT NULL) THEN least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29
      00:00:00+00') END AS claim_expires_at, xclaim_message.claim_key, xclaim_message.last_error_class,
      xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL AND xclaim_message.queue = ANY
      (ARRAY[%(queue_name)s::text, %(dead_letter_queue)s::text])
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- push, not all of it plain JSON
-- Insert the payloads in their order, and return what the producer does not know.
WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
      max_attempts, created_at, available_at, codec) SELECT %(queue_name)s::text AS queue,
      %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS priority, CAST(item.payload AS
      jsonb) AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers, CAST(NULL AS text) AS
      unique_key, %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at,
      statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION * interval '1 second') AS available_at,
      CAST(CASE WHEN (item.codec <> '') THEN item.codec END AS text) AS codec
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(codecs)s::text AS text[])) WITH ORDINALITY AS
      item(payload, codec, position)
    ORDER BY item.position
    RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at) SELECT
      array_agg(pushed.id
    ORDER BY pushed.id) AS ids, min(pushed.created_at) AS created_at, min(pushed.available_at) AS available_at
    FROM pushed;

-- push_once, not all of it plain JSON
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS jsonb) AS payload, CASE WHEN (item.unique_key <>
      '') THEN item.unique_key END AS unique_key, CASE WHEN (item.codec <> '') THEN item.codec END AS codec,
      item.position AS position
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[]),
      CAST(%(codecs)s::text AS text[])) WITH ORDINALITY AS item(payload, unique_key, codec, position)),
      existing AS MATERIALIZED (SELECT taken.id AS id, taken.queue AS queue, taken.origin_queue AS
      origin_queue, taken.status AS status, taken.priority AS priority, CAST(taken.payload AS text) AS
      payload, CAST(taken.headers AS text) AS headers, taken.unique_key AS unique_key, taken.attempts AS
      attempts, taken.max_attempts AS max_attempts, least(greatest(taken.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (taken.available_at IS NOT NULL) THEN
      least(greatest(taken.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (taken.claimed_at IS NOT NULL) THEN least(greatest(taken.claimed_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN (taken.claim_expires_at IS NOT
      NULL) THEN least(greatest(taken.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00')
      END AS claim_expires_at, CASE WHEN (taken.consumed_at IS NOT NULL) THEN
      least(greatest(taken.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, taken.claimed_by AS claimed_by, taken.consumed_by AS consumed_by, taken.claim_key AS
      claim_key, taken.last_error AS last_error, taken.last_error_class AS last_error_class, taken.codec AS
      codec, taken.ordering_key AS ordering_key, taken.payload = incoming.payload AND coalesce(taken.codec =
      incoming.codec, taken.codec IS NULL AND incoming.codec IS NULL) AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::text AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at, codec) SELECT
      %(queue_name)s::text AS queue, %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS
      priority, incoming.payload AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers,
      CAST(incoming.unique_key AS text) AS unique_key, %(attempts_limit)s::INTEGER AS max_attempts,
      statement_timestamp() AS created_at, statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION *
      interval '1 second') AS available_at, CAST(CASE WHEN (incoming.codec <> '') THEN incoming.codec END AS
      text) AS codec
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec,
      existing.ordering_key, existing.is_same, false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, pushed.ordering_key, true AS is_same, true AS is_new
    FROM pushed;

-- push_once, a batch under autocommit
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS jsonb) AS payload, CASE WHEN (item.unique_key <>
      '') THEN item.unique_key END AS unique_key, item.position AS position
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS
      item(payload, unique_key, position)), existing AS MATERIALIZED (SELECT taken.id AS id, taken.queue AS
      queue, taken.origin_queue AS origin_queue, taken.status AS status, taken.priority AS priority,
      CAST(taken.payload AS text) AS payload, CAST(taken.headers AS text) AS headers, taken.unique_key AS
      unique_key, taken.attempts AS attempts, taken.max_attempts AS max_attempts,
      least(greatest(taken.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at,
      CASE WHEN (taken.available_at IS NOT NULL) THEN least(greatest(taken.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN (taken.claimed_at IS NOT NULL)
      THEN least(greatest(taken.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (taken.claim_expires_at IS NOT NULL) THEN least(greatest(taken.claim_expires_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN
      (taken.consumed_at IS NOT NULL) THEN least(greatest(taken.consumed_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS consumed_at, taken.claimed_by AS claimed_by, taken.consumed_by AS
      consumed_by, taken.claim_key AS claim_key, taken.last_error AS last_error, taken.last_error_class AS
      last_error_class, taken.codec AS codec, taken.ordering_key AS ordering_key, taken.payload =
      incoming.payload AND taken.codec IS NULL AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::text AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at) SELECT
      %(queue_name)s::text AS queue, %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS
      priority, incoming.payload AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers,
      CAST(incoming.unique_key AS text) AS unique_key, %(attempts_limit)s::INTEGER AS max_attempts,
      statement_timestamp() AS created_at, statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION *
      interval '1 second') AS available_at
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec,
      existing.ordering_key, existing.is_same, false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, pushed.ordering_key, true AS is_same, true AS is_new
    FROM pushed;

-- prune, with a payload storage
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::text AND "old".status = 'consumed' AND "old".consumed_at <=
      (statement_timestamp() + (((- CAST(%(age_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER FOR NO KEY UPDATE SKIP LOCKED) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT pruned.id
    FROM pruned))) AND xclaim_message.status = 'consumed'
    RETURNING xclaim_message.id, CASE WHEN (xclaim_message.codec IS NOT NULL) THEN CASE WHEN
      (jsonb_typeof(xclaim_message.payload -> 'uri') = ANY (ARRAY['string', 'number'])) THEN
      substr(xclaim_message.payload ->> 'uri', 1, 4096) END END AS uri, xclaim_message.origin_queue;

-- push, where no limit is set
-- Insert the payloads in their order, and return what the producer does not know.
WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
      max_attempts, created_at, available_at) SELECT %(queue_name)s::text AS queue, %(queue_name)s::text AS
      origin_queue, %(message_priority)s::SMALLINT AS priority, item.payload AS payload,
      CAST(%(message_headers)s::text AS jsonb) AS headers, CAST(NULL AS text) AS unique_key,
      %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at, statement_timestamp()
      + (%(delay_seconds)s::DOUBLE PRECISION * interval '1 second') AS available_at
    FROM jsonb_array_elements(CAST(%(payloads)s::text AS jsonb)) WITH ORDINALITY AS item(payload, position)
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.max_backlog IS NOT NULL))
    ORDER BY item.position
    RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at) SELECT
      array_agg(pushed.id
    ORDER BY pushed.id) AS ids, min(pushed.created_at) AS created_at, min(pushed.available_at) AS available_at
    FROM pushed;

-- push_once, where no limit is set
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS jsonb) AS payload, CASE WHEN (item.unique_key <>
      '') THEN item.unique_key END AS unique_key, item.position AS position
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS
      item(payload, unique_key, position)), existing AS MATERIALIZED (SELECT taken.id AS id, taken.queue AS
      queue, taken.origin_queue AS origin_queue, taken.status AS status, taken.priority AS priority,
      CAST(taken.payload AS text) AS payload, CAST(taken.headers AS text) AS headers, taken.unique_key AS
      unique_key, taken.attempts AS attempts, taken.max_attempts AS max_attempts,
      least(greatest(taken.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at,
      CASE WHEN (taken.available_at IS NOT NULL) THEN least(greatest(taken.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN (taken.claimed_at IS NOT NULL)
      THEN least(greatest(taken.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (taken.claim_expires_at IS NOT NULL) THEN least(greatest(taken.claim_expires_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN
      (taken.consumed_at IS NOT NULL) THEN least(greatest(taken.consumed_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS consumed_at, taken.claimed_by AS claimed_by, taken.consumed_by AS
      consumed_by, taken.claim_key AS claim_key, taken.last_error AS last_error, taken.last_error_class AS
      last_error_class, taken.codec AS codec, taken.ordering_key AS ordering_key, taken.payload =
      incoming.payload AND taken.codec IS NULL AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::text AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at) SELECT
      %(queue_name)s::text AS queue, %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS
      priority, incoming.payload AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers,
      CAST(incoming.unique_key AS text) AS unique_key, %(attempts_limit)s::INTEGER AS max_attempts,
      statement_timestamp() AS created_at, statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION *
      interval '1 second') AS available_at
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key)) AND NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.max_backlog IS NOT NULL))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec,
      existing.ordering_key, existing.is_same, false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, pushed.ordering_key, true AS is_same, true AS is_new
    FROM pushed;

-- backlog, with what stands in line
-- Return the limit of the queue, and how many messages wait in it: at most one more than that.
SELECT (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text) AS max_backlog, (SELECT xclaim_queue.on_full
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text) AS on_full, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL
    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
      xclaim_message.id
    LIMIT coalesce(%(asked_backlog)s::INTEGER, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text), -1) + 1) AS anon_1) + (SELECT count(*) AS count_2
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.ordering_key IS NOT NULL AND
      xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL
    ORDER BY xclaim_message.queue, xclaim_message.ordering_key, xclaim_message.id
    LIMIT coalesce(%(asked_backlog)s::INTEGER, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text), -1) + 1) AS anon_2) AS waiting;

-- push_once, by id
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS jsonb) AS payload, CASE WHEN (item.unique_key <>
      '') THEN item.unique_key END AS unique_key, item.position AS position
    FROM unnest(CAST(%(payloads)s::text AS text[]), CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS
      item(payload, unique_key, position)), existing AS MATERIALIZED (SELECT taken.id AS id, taken.unique_key
      AS unique_key, taken.payload = incoming.payload AND taken.codec IS NULL AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::text AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at) SELECT
      %(queue_name)s::text AS queue, %(queue_name)s::text AS origin_queue, %(message_priority)s::SMALLINT AS
      priority, incoming.payload AS payload, CAST(%(message_headers)s::text AS jsonb) AS headers,
      CAST(incoming.unique_key AS text) AS unique_key, %(attempts_limit)s::INTEGER AS max_attempts,
      statement_timestamp() AS created_at, statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION *
      interval '1 second') AS available_at
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING xclaim_message.id, xclaim_message.unique_key) SELECT existing.id, existing.unique_key,
      existing.is_same, false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.unique_key, true AS is_same, true AS is_new
    FROM pushed;

-- candidates
-- Return the ids of what ``claim`` would claim, and claim nothing.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 1) SELECT candidate.id
    FROM candidate;

-- claim_within
-- Claim the next messages of a queue with limits, as many as these let, each with its slots.
WITH RECURSIVE setting AS MATERIALIZED (SELECT xclaim_queue.concurrency AS concurrency, xclaim_queue.rate AS
      rate, xclaim_queue.rate_seconds AS rate_seconds, xclaim_queue.burst AS burst
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.paused_at IS NULL AND
      (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)), of_a_claim AS MATERIALIZED
      (SELECT xclaim_slot.slot AS slot
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency' JOIN xclaim_message AS held ON held.id = xclaim_slot.message_id
    WHERE xclaim_slot.slot < setting.concurrency AND held.claimed_at = xclaim_slot.taken_at AND held.queue =
      %(queue_name)s::text AND held.status = 'claimed'), seen_free AS MATERIALIZED (SELECT xclaim_slot.slot AS
      slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency'
    WHERE xclaim_slot.slot < setting.concurrency AND NOT (EXISTS (SELECT of_a_claim.slot
    FROM of_a_claim
    WHERE of_a_claim.slot = xclaim_slot.slot))), others AS MATERIALIZED (SELECT greatest((SELECT count(*) AS
      count_2
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = %(queue_name)s::text AND claimed_one.claim_expires_at IS NOT NULL AND
      claimed_one.status = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT setting.concurrency
    FROM setting), 0)) AS claimed_ones) - (SELECT count(*) AS count_3
    FROM of_a_claim), 0) AS stray), free AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_free JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'concurrency' AND slot_of_ours.slot = seen_free.slot AND
      coalesce(slot_of_ours.message_id = seen_free.message_id, slot_of_ours.message_id IS NULL AND
      seen_free.message_id IS NULL) AND coalesce(slot_of_ours.taken_at = seen_free.taken_at,
      slot_of_ours.taken_at IS NULL AND seen_free.taken_at IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 1 + (SELECT others.stray
    FROM others) FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), seen_due AS MATERIALIZED (SELECT
      xclaim_slot.slot AS slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = 'rate'
    WHERE xclaim_slot.slot < setting.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <=
      (statement_timestamp() + (((- ((CAST(setting.burst AS DOUBLE PRECISION) * setting.rate_seconds) /
      setting.rate))) * interval '1 second')))), due AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_due JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'rate' AND slot_of_ours.slot = seen_due.slot AND coalesce(slot_of_ours.message_id =
      seen_due.message_id, slot_of_ours.message_id IS NULL AND seen_due.message_id IS NULL) AND
      coalesce(slot_of_ours.taken_at = seen_due.taken_at, slot_of_ours.taken_at IS NULL AND seen_due.taken_at
      IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 1 FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), room AS MATERIALIZED (SELECT least(1, CASE WHEN
      (setting.concurrency IS NOT NULL) THEN (SELECT count(*) AS count_1
    FROM free) - (SELECT others.stray
    FROM others) ELSE 1 END, CASE WHEN (setting.rate IS NOT NULL) THEN (SELECT count(*) AS count_4
    FROM due) ELSE 1 END) AS number
    FROM setting), level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE coalesce((SELECT room.number
    FROM room), 0) > 0
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 1), chosen AS MATERIALIZED (SELECT candidate.id AS id
    FROM candidate
    LIMIT greatest((SELECT room.number
    FROM room), 0)), claimed AS (UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT chosen.id
    FROM chosen))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key), taken AS (UPDATE xclaim_slot
    SET message_id=pair.id, taken_at=statement_timestamp()
    FROM (SELECT 'concurrency' AS kind, free_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT free.slot AS slot, row_number() OVER (ORDER BY free.slot) AS number
    FROM free) AS free_one ON free_one.number = numbered.number
    UNION ALL SELECT 'rate' AS kind, due_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT due.slot AS slot, row_number() OVER (ORDER BY due.slot) AS number
    FROM due) AS due_one ON due_one.number = numbered.number) AS pair
    WHERE xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = pair.kind AND xclaim_slot.slot =
      pair.slot
    RETURNING xclaim_slot.slot) SELECT claimed.id, claimed.origin_queue, claimed.priority, claimed.payload,
      claimed.headers, claimed.unique_key, claimed.attempts, claimed.max_attempts, claimed.created_at,
      claimed.available_at, claimed.claimed_at, claimed.claim_expires_at, claimed.last_error,
      claimed.last_error_class, claimed.claim_token, claimed.codec, claimed.ordering_key
    FROM claimed;

-- claim_within, a batch
-- Claim the next messages of a queue with limits, as many as these let, each with its slots.
WITH RECURSIVE setting AS MATERIALIZED (SELECT xclaim_queue.concurrency AS concurrency, xclaim_queue.rate AS
      rate, xclaim_queue.rate_seconds AS rate_seconds, xclaim_queue.burst AS burst
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.paused_at IS NULL AND
      (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)), of_a_claim AS MATERIALIZED
      (SELECT xclaim_slot.slot AS slot
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency' JOIN xclaim_message AS held ON held.id = xclaim_slot.message_id
    WHERE xclaim_slot.slot < setting.concurrency AND held.claimed_at = xclaim_slot.taken_at AND held.queue =
      %(queue_name)s::text AND held.status = 'claimed'), seen_free AS MATERIALIZED (SELECT xclaim_slot.slot AS
      slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency'
    WHERE xclaim_slot.slot < setting.concurrency AND NOT (EXISTS (SELECT of_a_claim.slot
    FROM of_a_claim
    WHERE of_a_claim.slot = xclaim_slot.slot))), others AS MATERIALIZED (SELECT greatest((SELECT count(*) AS
      count_2
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = %(queue_name)s::text AND claimed_one.claim_expires_at IS NOT NULL AND
      claimed_one.status = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT setting.concurrency
    FROM setting), 0)) AS claimed_ones) - (SELECT count(*) AS count_3
    FROM of_a_claim), 0) AS stray), free AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_free JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'concurrency' AND slot_of_ours.slot = seen_free.slot AND
      coalesce(slot_of_ours.message_id = seen_free.message_id, slot_of_ours.message_id IS NULL AND
      seen_free.message_id IS NULL) AND coalesce(slot_of_ours.taken_at = seen_free.taken_at,
      slot_of_ours.taken_at IS NULL AND seen_free.taken_at IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 100 + (SELECT others.stray
    FROM others) FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), seen_due AS MATERIALIZED (SELECT
      xclaim_slot.slot AS slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = 'rate'
    WHERE xclaim_slot.slot < setting.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <=
      (statement_timestamp() + (((- ((CAST(setting.burst AS DOUBLE PRECISION) * setting.rate_seconds) /
      setting.rate))) * interval '1 second')))), due AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_due JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'rate' AND slot_of_ours.slot = seen_due.slot AND coalesce(slot_of_ours.message_id =
      seen_due.message_id, slot_of_ours.message_id IS NULL AND seen_due.message_id IS NULL) AND
      coalesce(slot_of_ours.taken_at = seen_due.taken_at, slot_of_ours.taken_at IS NULL AND seen_due.taken_at
      IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 100 FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), room AS MATERIALIZED (SELECT least(100, CASE
      WHEN (setting.concurrency IS NOT NULL) THEN (SELECT count(*) AS count_1
    FROM free) - (SELECT others.stray
    FROM others) ELSE 100 END, CASE WHEN (setting.rate IS NOT NULL) THEN (SELECT count(*) AS count_4
    FROM due) ELSE 100 END) AS number
    FROM setting), level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE coalesce((SELECT room.number
    FROM room), 0) > 0
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 100), chosen AS MATERIALIZED (SELECT candidate.id AS id
    FROM candidate
    LIMIT greatest((SELECT room.number
    FROM room), 0)), claimed AS (UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT chosen.id
    FROM chosen))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key), taken AS (UPDATE xclaim_slot
    SET message_id=pair.id, taken_at=statement_timestamp()
    FROM (SELECT 'concurrency' AS kind, free_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT free.slot AS slot, row_number() OVER (ORDER BY free.slot) AS number
    FROM free) AS free_one ON free_one.number = numbered.number
    UNION ALL SELECT 'rate' AS kind, due_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT due.slot AS slot, row_number() OVER (ORDER BY due.slot) AS number
    FROM due) AS due_one ON due_one.number = numbered.number) AS pair
    WHERE xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = pair.kind AND xclaim_slot.slot =
      pair.slot
    RETURNING xclaim_slot.slot) SELECT claimed.id, claimed.origin_queue, claimed.priority, claimed.payload,
      claimed.headers, claimed.unique_key, claimed.attempts, claimed.max_attempts, claimed.created_at,
      claimed.available_at, claimed.claimed_at, claimed.claim_expires_at, claimed.last_error,
      claimed.last_error_class, claimed.claim_token, claimed.codec, claimed.ordering_key
    FROM claimed;

-- claim_within, one message
-- Claim the next messages of a queue with limits, as many as these let, each with its slots.
WITH setting AS MATERIALIZED (SELECT xclaim_queue.concurrency AS concurrency, xclaim_queue.rate AS rate,
      xclaim_queue.rate_seconds AS rate_seconds, xclaim_queue.burst AS burst
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND xclaim_queue.paused_at IS NULL AND
      (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)), of_a_claim AS MATERIALIZED
      (SELECT xclaim_slot.slot AS slot
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency' JOIN xclaim_message AS held ON held.id = xclaim_slot.message_id
    WHERE xclaim_slot.slot < setting.concurrency AND held.claimed_at = xclaim_slot.taken_at AND held.queue =
      %(queue_name)s::text AND held.status = 'claimed'), seen_free AS MATERIALIZED (SELECT xclaim_slot.slot AS
      slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind =
      'concurrency'
    WHERE xclaim_slot.slot < setting.concurrency AND NOT (EXISTS (SELECT of_a_claim.slot
    FROM of_a_claim
    WHERE of_a_claim.slot = xclaim_slot.slot))), others AS MATERIALIZED (SELECT greatest((SELECT count(*) AS
      count_2
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = %(queue_name)s::text AND claimed_one.claim_expires_at IS NOT NULL AND
      claimed_one.status = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT setting.concurrency
    FROM setting), 0)) AS claimed_ones) - (SELECT count(*) AS count_3
    FROM of_a_claim), 0) AS stray), free AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_free JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'concurrency' AND slot_of_ours.slot = seen_free.slot AND
      coalesce(slot_of_ours.message_id = seen_free.message_id, slot_of_ours.message_id IS NULL AND
      seen_free.message_id IS NULL) AND coalesce(slot_of_ours.taken_at = seen_free.taken_at,
      slot_of_ours.taken_at IS NULL AND seen_free.taken_at IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 1 + (SELECT others.stray
    FROM others) FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), seen_due AS MATERIALIZED (SELECT
      xclaim_slot.slot AS slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS taken_at
    FROM setting JOIN xclaim_slot ON xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = 'rate'
    WHERE xclaim_slot.slot < setting.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <=
      (statement_timestamp() + (((- ((CAST(setting.burst AS DOUBLE PRECISION) * setting.rate_seconds) /
      setting.rate))) * interval '1 second')))), due AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
    FROM seen_due JOIN xclaim_slot AS slot_of_ours ON slot_of_ours.queue = %(queue_name)s::text AND
      slot_of_ours.kind = 'rate' AND slot_of_ours.slot = seen_due.slot AND coalesce(slot_of_ours.message_id =
      seen_due.message_id, slot_of_ours.message_id IS NULL AND seen_due.message_id IS NULL) AND
      coalesce(slot_of_ours.taken_at = seen_due.taken_at, slot_of_ours.taken_at IS NULL AND seen_due.taken_at
      IS NULL)
    ORDER BY slot_of_ours.slot
    LIMIT 1 FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), room AS MATERIALIZED (SELECT least(1, CASE WHEN
      (setting.concurrency IS NOT NULL) THEN (SELECT count(*) AS count_1
    FROM free) - (SELECT others.stray
    FROM others) ELSE 1 END, CASE WHEN (setting.rate IS NOT NULL) THEN (SELECT count(*) AS count_4
    FROM due) ELSE 1 END) AS number
    FROM setting), candidate AS MATERIALIZED (SELECT wanted.id AS id
    FROM xclaim_message AS wanted
    WHERE wanted.id = %(message_id)s::BIGINT AND wanted.queue = %(queue_name)s::text AND wanted.status =
      'available' AND wanted.available_at <= statement_timestamp() AND CASE WHEN (wanted.consumed_at IS NOT
      NULL) THEN false ELSE true END AND coalesce((SELECT room.number
    FROM room), 0) > 0 FOR NO KEY UPDATE), chosen AS MATERIALIZED (SELECT candidate.id AS id
    FROM candidate
    LIMIT greatest((SELECT room.number
    FROM room), 0)), claimed AS (UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT chosen.id
    FROM chosen))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key), taken AS (UPDATE xclaim_slot
    SET message_id=pair.id, taken_at=statement_timestamp()
    FROM (SELECT 'concurrency' AS kind, free_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT free.slot AS slot, row_number() OVER (ORDER BY free.slot) AS number
    FROM free) AS free_one ON free_one.number = numbered.number
    UNION ALL SELECT 'rate' AS kind, due_one.slot AS slot, numbered.id AS id
    FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
    FROM claimed) AS numbered JOIN (SELECT due.slot AS slot, row_number() OVER (ORDER BY due.slot) AS number
    FROM due) AS due_one ON due_one.number = numbered.number) AS pair
    WHERE xclaim_slot.queue = %(queue_name)s::text AND xclaim_slot.kind = pair.kind AND xclaim_slot.slot =
      pair.slot
    RETURNING xclaim_slot.slot) SELECT claimed.id, claimed.origin_queue, claimed.priority, claimed.payload,
      claimed.headers, claimed.unique_key, claimed.attempts, claimed.max_attempts, claimed.created_at,
      claimed.available_at, claimed.claimed_at, claimed.claim_expires_at, claimed.last_error,
      claimed.last_error_class, claimed.claim_token, claimed.codec, claimed.ordering_key
    FROM claimed;

-- handed_on
-- Return the ids of what ``resume`` would take over, and take nothing.
SELECT held.id
    FROM xclaim_message AS held
    WHERE held.claim_key = ANY (ARRAY[%(handed_on_key)s::text, %(key)s::text]) AND held.queue =
      %(queue_name)s::text AND held.status = 'claimed' AND (held.claim_key = %(handed_on_key)s::text AND
      held.claimed_by = %(handed_on_by)s::text OR held.claim_key = %(key)s::text AND held.claimed_by <>
      %(claimant)s::text AND NOT coalesce(held.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0)) AND CASE WHEN (held.consumed_at IS NOT
      NULL) THEN false ELSE true END
    ORDER BY held.id;

-- set_aside
-- Make dead letters of messages that a claim would take, and count an attempt at each.
UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (xclaim_message.queue = %(dead_letter_queue)s::text) THEN
      statement_timestamp() + (%(rest_seconds)s::DOUBLE PRECISION * interval '1 second') ELSE
      statement_timestamp() END AS anon_1), due_at=CASE WHEN (xclaim_message.queue =
      %(dead_letter_queue)s::text) THEN xclaim_message.due_at END, attempts=CASE WHEN (xclaim_message.attempts
      < 2147483647) THEN xclaim_message.attempts + 1 ELSE 2147483647 END, claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=xclaim_message.claim_key, last_error=%(error)s::text, last_error_class=%(error_class)s::text,
      failures=(SELECT CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt', CASE WHEN
      (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE 2147483647 END, 'at',
      to_char(timezone('UTC', statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
      %(claimant)s::text, 'error_class', %(error_class)s::text, 'error', substr(%(error)s::text, 1, 1000))) AS
      anon_2), queue=%(dead_letter_queue)s::text
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position)))) AND
      xclaim_message.queue = %(queue_name)s::text AND (xclaim_message.status = 'available' OR
      xclaim_message.status = 'claimed' AND xclaim_message.claim_key = ANY (ARRAY[%(handed_on_key)s::text,
      %(key)s::text]))
    RETURNING xclaim_message.id;

-- described
-- Return messages without their JSON, and of each text the first bytes as ``in_bytes`` does.
SELECT xclaim_message.id, convert_to(substr(xclaim_message.queue, 1, 1000), getdatabaseencoding()) AS queue,
      convert_to(substr(xclaim_message.origin_queue, 1, 1000), getdatabaseencoding()) AS origin_queue,
      convert_to(substr(xclaim_message.status, 1, 1000), getdatabaseencoding()) AS status,
      xclaim_message.priority, convert_to(substr(xclaim_message.unique_key, 1, 1000), getdatabaseencoding())
      AS unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, convert_to(substr(xclaim_message.claimed_by, 1, 1000), getdatabaseencoding()) AS
      claimed_by, convert_to(substr(xclaim_message.consumed_by, 1, 1000), getdatabaseencoding()) AS
      consumed_by, convert_to(substr(xclaim_message.claim_key, 1, 1000), getdatabaseencoding()) AS claim_key,
      convert_to(substr(xclaim_message.last_error, 1, 1000), getdatabaseencoding()) AS last_error,
      convert_to(substr(xclaim_message.last_error_class, 1, 1000), getdatabaseencoding()) AS last_error_class,
      convert_to(substr(xclaim_message.codec, 1, 1000), getdatabaseencoding()) AS codec,
      convert_to(substr(xclaim_message.ordering_key, 1, 1000), getdatabaseencoding()) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position))));

-- prune_as_maintainer
-- Do as ``prune``, by the function that a maintainer may call (PostgreSQL only).
WITH found AS MATERIALIZED (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::text AND "old".status = 'consumed' AND "old".consumed_at <=
      (statement_timestamp() + (((- CAST(%(age_seconds)s::DOUBLE PRECISION AS FLOAT))) * interval '1 second'))
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER), deleted AS MATERIALIZED (SELECT unnest(xclaim_delete(array((SELECT
      found.id
    FROM found)), CAST('consumed' AS text))) AS id) SELECT found.id
    FROM found
    WHERE found.id = ANY (array((SELECT deleted.id
    FROM deleted)));

-- withdraw_as_maintainer
-- Do as ``withdraw``, by the function that a maintainer may call (PostgreSQL only).
WITH found AS MATERIALIZED (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = %(queue_name)s::text AND xclaim_message.unique_key = ANY
      (array((SELECT item.unique_key
    FROM unnest(CAST(%(unique_keys)s::text AS text[])) WITH ORDINALITY AS item(unique_key, position)))) AND
      xclaim_message.status = 'available'), deleted AS MATERIALIZED (SELECT unnest(xclaim_delete(array((SELECT
      found.id
    FROM found)), CAST('available' AS text))) AS id) SELECT found.id
    FROM found
    WHERE found.id = ANY (array((SELECT deleted.id
    FROM deleted)));

-- withdraw_by_id_as_maintainer
-- Do as ``withdraw_by_id``, by the function that a maintainer may call (PostgreSQL only).
WITH found AS MATERIALIZED (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position)))) AND
      (xclaim_message.origin_queue = %(queue_name)s::text OR xclaim_message.queue = %(queue_name)s::text) AND
      xclaim_message.status = 'available'), deleted AS MATERIALIZED (SELECT unnest(xclaim_delete(array((SELECT
      found.id
    FROM found)), CAST('available' AS text))) AS id) SELECT found.id
    FROM found
    WHERE found.id = ANY (array((SELECT deleted.id
    FROM deleted)));

-- claim with a claim key
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE resumable AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = %(key)s::text AND held.queue = %(queue_name)s::text AND held.status = 'claimed' AND
      held.claimed_by <> %(claimant)s::text AND NOT coalesce(held.attempts >= CASE WHEN
      %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0) AND CASE WHEN
      (held.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY held.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED), level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END AND NOT (EXISTS (SELECT resumable.id
    FROM resumable))
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT (EXISTS
      (SELECT resumable.id
    FROM resumable))
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 1) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM (SELECT resumable.id AS id
    FROM resumable
    UNION ALL SELECT candidate.id AS id
    FROM candidate) AS taken))) AND xclaim_message.status <> 'consumed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim of whole lines, a batch
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 10 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 10 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 10), wanted AS MATERIALIZED (SELECT each.id AS id, heads.place AS place, each.nth AS nth
    FROM (SELECT head.id AS id, CASE WHEN (head.origin_queue = %(queue_name)s::text AND head.keeps_turn IS NOT
      true) THEN head.ordering_key END AS ordering_key, row_number() OVER (ORDER BY head.priority DESC,
      head.available_at, head.id) AS place
    FROM xclaim_message AS head
    WHERE head.id = ANY (array((SELECT candidate.id
    FROM candidate)))
    ORDER BY head.priority DESC, head.available_at, head.id) AS heads CROSS JOIN LATERAL (SELECT heads.id AS
      id, 0 AS nth
    UNION ALL (SELECT line.id AS id, row_number() OVER (ORDER BY line.id) AS nth
    FROM xclaim_message AS line
    WHERE line.queue = %(queue_name)s::text AND line.origin_queue = %(queue_name)s::text AND
      heads.ordering_key IS NOT NULL AND line.ordering_key IS NOT NULL AND line.ordering_key =
      heads.ordering_key AND line.status = 'available' AND line.available_at IS NULL
    ORDER BY line.queue, line.ordering_key, line.id
    LIMIT 9)) AS each
    LIMIT 10), taken_along AS MATERIALIZED (SELECT along.id AS id
    FROM xclaim_message AS along
    WHERE along.id = ANY (array((SELECT wanted.id
    FROM wanted
    WHERE wanted.nth > 0))) AND along.status = 'available' AND along.available_at IS NULL AND (along.due_at IS
      NULL OR along.due_at <= statement_timestamp()) AND along.keeps_turn IS NOT true AND CASE WHEN
      (along.consumed_at IS NOT NULL) THEN false ELSE true END FOR NO KEY UPDATE SKIP LOCKED), whole_lines AS
      MATERIALIZED (SELECT counted.id AS id
    FROM (SELECT wanted.id AS id, wanted.place AS place, wanted.nth AS nth, count(taken_along.id) OVER
      (PARTITION BY wanted.place
    ORDER BY wanted.nth) AS had
    FROM wanted LEFT OUTER JOIN taken_along ON taken_along.id = wanted.id) AS counted
    WHERE counted.had = counted.nth
    ORDER BY counted.place, counted.nth) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT whole_lines.id
    FROM whole_lines))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim on top
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority = (SELECT
      top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS NOT NULL)
      THEN false ELSE true END AND NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim lately
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority, number) AS (SELECT coalesce((SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::text AND top.status = 'available' AND top.available_at >= '-infinity'
      AND top.priority > %(after_priority)s::SMALLINT
    ORDER BY top.priority DESC
    LIMIT 1), %(after_priority)s::SMALLINT) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = %(queue_name)s::text AND (xclaim_queue.paused_at IS NOT NULL OR
      xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT CASE WHEN (level.priority > %(after_priority)s::SMALLINT) THEN coalesce((SELECT
      between_both.priority
    FROM xclaim_message AS between_both
    WHERE between_both.queue = %(queue_name)s::text AND between_both.status = 'available' AND
      between_both.available_at >= '-infinity' AND between_both.priority < level.priority AND
      between_both.priority > %(after_priority)s::SMALLINT
    ORDER BY between_both.priority DESC
    LIMIT 1), %(after_priority)s::SMALLINT) ELSE (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::text AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) END AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN false ELSE true END AND (waiting.available_at, waiting.id) > (CASE WHEN (level.priority =
      %(after_priority)s::SMALLINT) THEN %(after_available_at)s::TIMESTAMP WITH TIME ZONE ELSE '-infinity'
      END, CASE WHEN (level.priority = %(after_priority)s::SMALLINT) THEN %(after_id)s::BIGINT ELSE 0 END)
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS picked
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = %(queue_name)s::text AND other.status = 'available' AND other.priority < (SELECT
      level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at >=
      '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    LIMIT 1) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim behind a position
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT) AND CASE WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- claim behind a position, a batch
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT) AND CASE WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_1
    FROM candidate) = 100
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key;

-- ack_and_claim behind a position
-- Consume what was claimed and claim the next, unless some of it was lost.
WITH acked AS (UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id), candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT) AND CASE WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED), claimed AS (UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_1
    FROM acked) = %(ack_count)s::INTEGER
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT claimed.id, claimed.origin_queue, claimed.priority, claimed.payload,
      claimed.headers, claimed.unique_key, claimed.attempts, claimed.max_attempts, claimed.created_at,
      claimed.available_at, claimed.claimed_at, claimed.claim_expires_at, claimed.last_error,
      claimed.last_error_class, claimed.claim_token, claimed.codec, claimed.ordering_key, done.acked_ids
    FROM (SELECT CASE WHEN ((SELECT count(*) AS count_1
    FROM acked) <> %(ack_count)s::INTEGER) THEN array((SELECT acked.id
    FROM acked)) END AS acked_ids) AS done LEFT OUTER JOIN claimed ON true;

-- ack_and_claim behind a position, a batch
-- Consume what was claimed and claim the next, unless some of it was lost.
WITH acked AS (UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    FROM unnest(CAST(%(ids)s::text AS BIGINT[]), CAST(%(tokens)s::text AS uuid[])) WITH ORDINALITY AS item(id,
      token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id), candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::text AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT) AND CASE WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
    ORDER BY waiting.available_at, waiting.id
    LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED), claimed AS (UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      (%(lease_seconds)s::DOUBLE PRECISION * interval '1 second')),
      claim_token=CAST(encode(substr(sha256(CAST(%(token_secret)s AS BYTEA) || int8send(xclaim_message.id)),
      1, 16), 'hex') AS uuid), status='claimed', claimed_by=%(claimant)s::text, claim_key=%(key)s::text
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_2
    FROM candidate) = 100 AND (SELECT count(*) AS count_1
    FROM acked) = %(ack_count)s::INTEGER
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
      CAST(xclaim_message.payload AS text) AS payload, CAST(CASE WHEN xclaim_message.headers = '{}' THEN NULL
      ELSE xclaim_message.headers END AS text) AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
      xclaim_message.ordering_key) SELECT claimed.id, claimed.origin_queue, claimed.priority, claimed.payload,
      claimed.headers, claimed.unique_key, claimed.attempts, claimed.max_attempts, claimed.created_at,
      claimed.available_at, claimed.claimed_at, claimed.claim_expires_at, claimed.last_error,
      claimed.last_error_class, claimed.claim_token, claimed.codec, claimed.ordering_key, done.acked_ids
    FROM (SELECT CASE WHEN ((SELECT count(*) AS count_1
    FROM acked) <> %(ack_count)s::INTEGER) THEN array((SELECT acked.id
    FROM acked)) END AS acked_ids) AS done LEFT OUTER JOIN claimed ON true;

-- release
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN
      THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
      %(dead_letter_queue)s::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN
      NULL ELSE xclaim_message.available_at END AS anon_1), due_at=(SELECT CASE WHEN
      (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE WHEN
      %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND
      xclaim_message.queue <> %(dead_letter_queue)s::text) THEN NULL WHEN (xclaim_message.available_at IS
      NULL) THEN xclaim_message.available_at ELSE xclaim_message.due_at END AS anon_2), claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END, queue=CASE
      WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN %(dead_letter_queue)s::text
      ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key;

-- release, after an error
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN
      THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
      %(dead_letter_queue)s::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN
      NULL ELSE greatest(statement_timestamp(), least(statement_timestamp(), statement_timestamp()) +
      (CAST(CAST(%(pauses)s::text AS jsonb) ->> (greatest(least(xclaim_message.attempts,
      %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0 - (%(jitter)s::DOUBLE PRECISION *
      ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval
      '1 second')) END AS anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> %(dead_letter_queue)s::text)
      THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN greatest(statement_timestamp(),
      least(statement_timestamp(), statement_timestamp()) + (CAST(CAST(%(pauses)s::text AS jsonb) ->>
      (greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER), 1) - 1) AS DOUBLE PRECISION) * (1.0
      - (%(jitter)s::DOUBLE PRECISION * ((((xclaim_message.id %% 97) + %(drawn)s::INTEGER) %% 97) / CAST(97.0
      AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END AS anon_2),
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=%(error)s::text, last_error_class=%(error_class)s::text, failures=(SELECT CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-
      MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text),
      'error_class', %(error_class)s::text, 'error', substr(%(error)s::text, 1, 1000))) AS anon_3), queue=CASE
      WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN %(dead_letter_queue)s::text
      ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key;

-- release, after an error, with a delay
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN
      THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
      %(dead_letter_queue)s::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN
      NULL ELSE statement_timestamp() + (%(delay_seconds)s::DOUBLE PRECISION * interval '1 second') END AS
      anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN %(most_attempts)s::INTEGER
      ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> %(dead_letter_queue)s::text)
      THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN statement_timestamp() +
      (%(delay_seconds)s::DOUBLE PRECISION * interval '1 second') ELSE xclaim_message.due_at END AS anon_2),
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=%(error)s::text, last_error_class=%(error_class)s::text, failures=(SELECT CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-
      MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text),
      'error_class', %(error_class)s::text, 'error', substr(%(error)s::text, 1, 1000))) AS anon_3), queue=CASE
      WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s::BOOLEAN THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN %(dead_letter_queue)s::text
      ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key;

-- release, not counted
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::uuid
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, CAST(xclaim_message.payload AS text) AS payload, CAST(xclaim_message.headers AS
      text) AS headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
      xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
      xclaim_message.ordering_key;

-- first_entries
-- Return of each queue what waits among its first entries, ``bound`` at most (PostgreSQL).
WITH RECURSIVE walk AS ( SELECT first.queue, first.entries, first.due, first.oldest_at, first.newest_at,
      first.top, first.bottom, first.is_cut, first.is_last, 1 AS number
    FROM ( SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_cut, is_last
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_full AND number = queues AS
      is_cut, is_full AND (number = queues OR number = (queues - 1) AND of_last < %(least)s::INTEGER) AS
      is_last, is_full AND queues > 1 AND number = queues AND entries < %(least)s::INTEGER AS is_left_out
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, row_number() OVER (ORDER BY queue) AS
      number, count(*) OVER () AS queues, (sum(entries) OVER ()) >= %(bound)s::INTEGER AS is_full,
      first_value(entries) OVER (ORDER BY queue DESC) AS of_last
    FROM (SELECT entry.queue, count(*) AS entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1
      END) AS due, min(CASE WHEN entry.at <= statement_timestamp() THEN entry.at END) AS oldest_at, max(CASE
      WHEN entry.at <= statement_timestamp() THEN entry.at END) AS newest_at, 0 AS top, 0 AS bottom
    FROM (SELECT queue, available_at AS at
    FROM xclaim_message AS behind
    WHERE status = 'available' AND available_at >= '-infinity'
    ORDER BY queue, priority DESC, available_at
    LIMIT %(bound)s::INTEGER) AS entry GROUP BY entry.queue) AS of_queue) AS numbered) AS step
    WHERE NOT is_left_out ) AS first
    UNION ALL SELECT found.queue, found.entries, found.due, found.oldest_at, found.newest_at, found.top,
      found.bottom, found.is_cut, found.is_last, walk.number + 1
    FROM walk CROSS JOIN LATERAL ( SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_cut,
      is_last
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_full AND number = queues AS
      is_cut, is_full AND (number = queues OR number = (queues - 1) AND of_last < %(least)s::INTEGER) AS
      is_last, is_full AND queues > 1 AND number = queues AND entries < %(least)s::INTEGER AS is_left_out
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, row_number() OVER (ORDER BY queue) AS
      number, count(*) OVER () AS queues, (sum(entries) OVER ()) >= %(bound)s::INTEGER AS is_full,
      first_value(entries) OVER (ORDER BY queue DESC) AS of_last
    FROM (SELECT entry.queue, count(*) AS entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1
      END) AS due, min(CASE WHEN entry.at <= statement_timestamp() THEN entry.at END) AS oldest_at, max(CASE
      WHEN entry.at <= statement_timestamp() THEN entry.at END) AS newest_at, 0 AS top, 0 AS bottom
    FROM (SELECT queue, available_at AS at
    FROM xclaim_message AS behind
    WHERE status = 'available' AND available_at >= '-infinity' AND behind.queue > walk.queue
    ORDER BY queue, priority DESC, available_at
    LIMIT %(bound)s::INTEGER) AS entry GROUP BY entry.queue) AS of_queue) AS numbered) AS step
    WHERE NOT is_left_out ) AS found
    WHERE walk.is_last AND walk.number <= %(most)s::INTEGER) SELECT queue, entries, due, top, bottom, is_cut,
      CASE WHEN walk.oldest_at IS NOT NULL THEN least(greatest(walk.oldest_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS oldest_at, CASE WHEN walk.newest_at IS NOT NULL THEN
      least(greatest(walk.newest_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS newest_at,
      number > %(most)s::INTEGER AS is_behind
    FROM walk;

-- first_claims
-- Return of each queue its claims, ``bound`` at most, and of them the lapsed (PostgreSQL).
WITH RECURSIVE walk AS ( SELECT first.queue, first.entries, first.due, first.oldest_at, first.newest_at,
      first.top, first.bottom, first.is_cut, first.is_last, 1 AS number
    FROM ( SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_cut, is_last
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_full AND number = queues AS
      is_cut, is_full AND (number = queues OR number = (queues - 1) AND of_last < %(bound)s::INTEGER) AS
      is_last, is_full AND queues > 1 AND number = queues AND entries < %(bound)s::INTEGER AS is_left_out
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, row_number() OVER (ORDER BY queue) AS
      number, count(*) OVER () AS queues, (sum(entries) OVER ()) >= %(bound)s::INTEGER AS is_full,
      first_value(entries) OVER (ORDER BY queue DESC) AS of_last
    FROM (SELECT entry.queue, count(*) AS entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1
      END) AS due, min(CASE WHEN entry.at <= statement_timestamp() THEN entry.at END) AS oldest_at, max(CASE
      WHEN entry.at <= statement_timestamp() THEN entry.at END) AS newest_at, 0 AS top, 0 AS bottom
    FROM (SELECT queue, claim_expires_at AS at
    FROM xclaim_message AS behind
    WHERE claim_expires_at IS NOT NULL
    ORDER BY queue, claim_expires_at
    LIMIT %(bound)s::INTEGER) AS entry GROUP BY entry.queue) AS of_queue) AS numbered) AS step
    WHERE NOT is_left_out ) AS first
    UNION ALL SELECT found.queue, found.entries, found.due, found.oldest_at, found.newest_at, found.top,
      found.bottom, found.is_cut, found.is_last, walk.number + 1
    FROM walk CROSS JOIN LATERAL ( SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_cut,
      is_last
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_full AND number = queues AS
      is_cut, is_full AND (number = queues OR number = (queues - 1) AND of_last < %(bound)s::INTEGER) AS
      is_last, is_full AND queues > 1 AND number = queues AND entries < %(bound)s::INTEGER AS is_left_out
    FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom, row_number() OVER (ORDER BY queue) AS
      number, count(*) OVER () AS queues, (sum(entries) OVER ()) >= %(bound)s::INTEGER AS is_full,
      first_value(entries) OVER (ORDER BY queue DESC) AS of_last
    FROM (SELECT entry.queue, count(*) AS entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1
      END) AS due, min(CASE WHEN entry.at <= statement_timestamp() THEN entry.at END) AS oldest_at, max(CASE
      WHEN entry.at <= statement_timestamp() THEN entry.at END) AS newest_at, 0 AS top, 0 AS bottom
    FROM (SELECT queue, claim_expires_at AS at
    FROM xclaim_message AS behind
    WHERE claim_expires_at IS NOT NULL AND behind.queue > walk.queue
    ORDER BY queue, claim_expires_at
    LIMIT %(bound)s::INTEGER) AS entry GROUP BY entry.queue) AS of_queue) AS numbered) AS step
    WHERE NOT is_left_out ) AS found
    WHERE walk.is_last AND walk.number <= %(most)s::INTEGER) SELECT queue, entries, due, top, bottom, is_cut,
      CASE WHEN walk.oldest_at IS NOT NULL THEN least(greatest(walk.oldest_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS oldest_at, CASE WHEN walk.newest_at IS NOT NULL THEN
      least(greatest(walk.newest_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS newest_at,
      number > %(most)s::INTEGER AS is_behind
    FROM walk;

-- counted_entries
-- Count what waits in some queues, ``bound`` of each at most (PostgreSQL).
SELECT name.queue, found.entries, found.due
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL (SELECT count(*) AS
      entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1 END) AS due
    FROM (SELECT available_at AS at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY priority DESC, available_at
    LIMIT %(bound)s::INTEGER) AS entry) AS found;

-- counted_claims
-- Count the claims of some queues, ``bound`` of each at most, the lapsed first (PostgreSQL).
SELECT name.queue, found.entries, found.due
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL (SELECT count(*) AS
      entries, count(CASE WHEN entry.at <= statement_timestamp() THEN 1 END) AS due
    FROM (SELECT claim_expires_at AS at
    FROM xclaim_message
    WHERE queue = name.queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(bound)s::INTEGER) AS entry) AS found;

-- tried
-- Return of some queues which of the first ``sample`` messages failed before (PostgreSQL).
SELECT name.queue, found.looked_at, found.retrying
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL (SELECT count(*) AS
      looked_at, count(CASE WHEN attempts > 0 THEN 1 END) AS retrying
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY priority DESC, available_at
    LIMIT %(sample)s::INTEGER) AS entry) AS found;

-- tried_of_known
-- Return of some queues which of their first messages failed before (PostgreSQL).
SELECT name.queue, found.looked_at, found.retrying
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue, unnest((%(tops)s::text)::smallint[]) AS top,
      unnest((%(nears)s::text)::integer[]) AS near, unnest((%(fars)s::text)::integer[]) AS far) AS name CROSS
      JOIN LATERAL (SELECT count(*) AS looked_at, count(CASE WHEN attempts > 0 THEN 1 END) AS retrying
    FROM (SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY priority DESC, available_at
    LIMIT name.near) AS near
    UNION ALL SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority = name.top
      AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT name.far) AS far) AS entry) AS found;

-- first_claimed
-- Return of some queues when the first of ``sample`` claims was made (PostgreSQL).
SELECT name.queue, CASE WHEN found.claimed_at IS NOT NULL THEN least(greatest(found.claimed_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL (SELECT
      min(entry.claimed_at) AS claimed_at
    FROM (SELECT claimed_at
    FROM xclaim_message
    WHERE queue = name.queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(sample)s::INTEGER) AS entry) AS found;

-- last_claims
-- Return of some queues whether the lease that ends last lasts yet (PostgreSQL).
SELECT name.queue, found.is_live
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL ( SELECT
      claim_expires_at > statement_timestamp() AS is_live
    FROM xclaim_message
    WHERE queue = name.queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at DESC
    LIMIT 1 ) AS found;

-- last_died
-- Return when the last message died, of some queues of dead letters (PostgreSQL).
SELECT name.queue, CASE WHEN found.available_at IS NOT NULL THEN least(greatest(found.available_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS died_at
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL ( SELECT
      max(newest.available_at) AS available_at
    FROM ( WITH RECURSIVE level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND lower.priority
      < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < %(levels)s::INTEGER) SELECT (SELECT died.available_at
    FROM xclaim_message AS died
    WHERE died.queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND died.priority =
      level.priority AND died.available_at <= statement_timestamp()
    ORDER BY died.available_at DESC
    LIMIT 1) AS available_at
    FROM level
    WHERE level.priority IS NOT NULL) AS newest ) AS found;

-- consumed_queues
-- Return the queues that have a consumed message, and when the last one was consumed.
WITH RECURSIVE walk AS ( (SELECT queue, consumed_at, 1 AS number
    FROM xclaim_message
    WHERE consumed_at IS NOT NULL
    ORDER BY queue DESC, consumed_at DESC
    LIMIT 1)
    UNION ALL SELECT found.queue, found.consumed_at, walk.number + 1
    FROM walk CROSS JOIN LATERAL ( SELECT before.queue, before.consumed_at
    FROM xclaim_message AS before
    WHERE consumed_at IS NOT NULL AND before.queue < walk.queue
    ORDER BY before.queue DESC, before.consumed_at DESC
    LIMIT 1) AS found
    WHERE walk.number < %(most)s::INTEGER) SELECT queue, CASE WHEN consumed_at IS NOT NULL THEN
      least(greatest(consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS consumed_at
    FROM walk;

-- paused_queues
-- Return the queues that have a setting: how they are paused, and what limits they have.
SELECT queue, CASE WHEN paused_at IS NOT NULL THEN least(greatest(paused_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS paused_at, paused_by, reason, max_backlog, on_full, concurrency, rate,
      rate_seconds, burst
    FROM xclaim_queue
    LIMIT %(most)s::INTEGER;

-- summaries
-- Return for each of some queues what waits, what is held and what died (PostgreSQL).
SELECT name.queue, waiting.due, waiting.available_at, waiting.delayed, waiting.retrying, waiting.looked_at,
      waiting.is_due_cut, waiting.is_delayed_cut, waiting.is_retrying_cut, held.claimed, held.lapsed,
      held.live, held.own_lapsed, held.claim_expires_at, held.claimed_at, letters.dead, letters.died_at,
      statement_timestamp() AS now
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL ( WITH RECURSIVE
      level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND lower.priority
      < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < %(levels)s::INTEGER) SELECT coalesce(sum(found.due),
      0)::bigint AS due, CASE WHEN min(found.available_at) IS NOT NULL THEN
      least(greatest(min(found.available_at), '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, coalesce(sum(found.delayed), 0)::bigint AS delayed, coalesce(sum(found.retrying),
      0)::bigint AS retrying, coalesce(sum(found.looked_at), 0)::bigint AS looked_at,
      coalesce(bool_or(found.due >= found.bound OR found.is_rest), false) AS is_due_cut,
      coalesce(bool_or(found.delayed >= found.bound OR found.is_rest), false) AS is_delayed_cut,
      coalesce(bool_or(found.looked_at < (found.due + found.delayed) OR found.is_rest), false) AS
      is_retrying_cut
    FROM (SELECT of_level.due, of_level.available_at, of_level.delayed, of_level.retrying, of_level.looked_at,
      greatest(%(bound)s::INTEGER / level.number, 1) AS bound, false AS is_rest
    FROM level CROSS JOIN LATERAL ( SELECT due.messages AS due, due.available_at, later.messages AS delayed,
      tried.messages AS retrying, tried.looked_at
    FROM (SELECT count(*) AS messages, min(available_at) AS available_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(bound)s::INTEGER / level.number, 1)) AS entry) AS due CROSS JOIN (SELECT count(*) AS
      messages
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(bound)s::INTEGER / level.number, 1)) AS entry) AS later CROSS JOIN (SELECT count(*) AS
      looked_at, count(CASE WHEN attempts > 0 THEN 1 END) AS messages
    FROM (SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(sample)s::INTEGER / level.number, 1)) AS near
    UNION ALL SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(sample)s::INTEGER / level.number, 1)) AS far) AS entry) AS tried ) AS of_level
    WHERE level.priority IS NOT NULL
    UNION ALL SELECT of_rest.due, of_rest.available_at, of_rest.delayed, of_rest.retrying, of_rest.looked_at,
      %(bound)s::INTEGER AS bound, (of_rest.due + of_rest.delayed) >= %(bound)s::INTEGER AS is_rest
    FROM (SELECT priority
    FROM level
    WHERE number = %(levels)s::INTEGER) AS last CROSS JOIN LATERAL ( SELECT count(CASE WHEN entry.available_at
      <= statement_timestamp() THEN 1 END) AS due, min(CASE WHEN entry.available_at <= statement_timestamp()
      THEN entry.available_at END) AS available_at, count(CASE WHEN entry.available_at > statement_timestamp()
      THEN 1 END) AS delayed, 0 AS retrying, 0 AS looked_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority <
      last.priority
    ORDER BY priority DESC, available_at
    LIMIT %(bound)s::INTEGER) AS entry ) AS of_rest
    WHERE last.priority IS NOT NULL) AS found) AS waiting CROSS JOIN LATERAL (SELECT claimed, lapsed, live,
      own_lapsed, CASE WHEN claims.claim_expires_at IS NOT NULL THEN least(greatest(claims.claim_expires_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN
      claims.claimed_at IS NOT NULL THEN least(greatest(claims.claimed_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS claimed_at
    FROM ( SELECT held.messages AS claimed, held.lapsed, held.live, held.own_lapsed, held.claim_expires_at,
      first.claimed_at
    FROM (SELECT count(*) AS messages, count(CASE WHEN entry.is_lapsed THEN 1 END) AS lapsed, count(CASE WHEN
      entry.is_own = 1 AND NOT entry.is_lapsed THEN 1 END) AS live, count(CASE WHEN entry.is_own = 1 AND
      entry.is_lapsed THEN 1 END) AS own_lapsed, min(CASE WHEN entry.is_own = 1 THEN entry.claim_expires_at
      END) AS claim_expires_at
    FROM (SELECT *
    FROM (SELECT claim_expires_at, claim_expires_at <= statement_timestamp() AS is_lapsed, 1 AS is_own
    FROM xclaim_message
    WHERE queue = name.queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(others)s::INTEGER) AS own
    UNION ALL SELECT *
    FROM (SELECT claim_expires_at, claim_expires_at <= statement_timestamp() AS is_lapsed, 0 AS is_own
    FROM xclaim_message
    WHERE queue = (name.queue || '.dead') AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(others)s::INTEGER) AS of_dead) AS entry) AS held CROSS JOIN (SELECT min(claimed_at) AS claimed_at
    FROM (SELECT *
    FROM (SELECT claimed_at
    FROM xclaim_message
    WHERE queue = name.queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(sample)s::INTEGER) AS own
    UNION ALL SELECT *
    FROM (SELECT claimed_at
    FROM xclaim_message
    WHERE queue = (name.queue || '.dead') AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT %(sample)s::INTEGER) AS of_dead) AS entry) AS first ) AS claims) AS held CROSS JOIN LATERAL (SELECT
      dead, CASE WHEN letters.available_at IS NOT NULL THEN least(greatest(letters.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS died_at
    FROM ( SELECT (SELECT count(*)
    FROM (SELECT priority
    FROM xclaim_message
    WHERE queue = (name.queue || '.dead') AND status = 'available' AND available_at >= '-infinity'
    ORDER BY priority DESC
    LIMIT %(others)s::INTEGER) AS entry) AS dead, ( SELECT max(newest.available_at) AS available_at
    FROM ( WITH RECURSIVE level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = (name.queue || '.dead') AND status = 'available' AND available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = (name.queue || '.dead') AND status = 'available' AND available_at >= '-infinity' AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < %(levels)s::INTEGER) SELECT (SELECT died.available_at
    FROM xclaim_message AS died
    WHERE died.queue = (name.queue || '.dead') AND status = 'available' AND available_at >= '-infinity' AND
      died.priority = level.priority AND died.available_at <= statement_timestamp()
    ORDER BY died.available_at DESC
    LIMIT 1) AS available_at
    FROM level
    WHERE level.priority IS NOT NULL) AS newest ) AS available_at ) AS letters) AS letters;

-- waits
-- Return for each of some queues what waits, as ``summaries`` does (PostgreSQL).
SELECT name.queue, waiting.due, waiting.available_at, waiting.delayed, waiting.retrying, waiting.looked_at,
      waiting.is_due_cut, waiting.is_delayed_cut, waiting.is_retrying_cut
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL ( WITH RECURSIVE
      level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = name.queue AND status = 'available' AND available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND lower.priority
      < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < %(levels)s::INTEGER) SELECT coalesce(sum(found.due),
      0)::bigint AS due, CASE WHEN min(found.available_at) IS NOT NULL THEN
      least(greatest(min(found.available_at), '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, coalesce(sum(found.delayed), 0)::bigint AS delayed, coalesce(sum(found.retrying),
      0)::bigint AS retrying, coalesce(sum(found.looked_at), 0)::bigint AS looked_at,
      coalesce(bool_or(found.due >= found.bound OR found.is_rest), false) AS is_due_cut,
      coalesce(bool_or(found.delayed >= found.bound OR found.is_rest), false) AS is_delayed_cut,
      coalesce(bool_or(found.looked_at < (found.due + found.delayed) OR found.is_rest), false) AS
      is_retrying_cut
    FROM (SELECT of_level.due, of_level.available_at, of_level.delayed, of_level.retrying, of_level.looked_at,
      greatest(%(bound)s::INTEGER / level.number, 1) AS bound, false AS is_rest
    FROM level CROSS JOIN LATERAL ( SELECT due.messages AS due, due.available_at, later.messages AS delayed,
      tried.messages AS retrying, tried.looked_at
    FROM (SELECT count(*) AS messages, min(available_at) AS available_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(bound)s::INTEGER / level.number, 1)) AS entry) AS due CROSS JOIN (SELECT count(*) AS
      messages
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(bound)s::INTEGER / level.number, 1)) AS entry) AS later CROSS JOIN (SELECT count(*) AS
      looked_at, count(CASE WHEN attempts > 0 THEN 1 END) AS messages
    FROM (SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(sample)s::INTEGER / level.number, 1)) AS near
    UNION ALL SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT greatest(%(sample)s::INTEGER / level.number, 1)) AS far) AS entry) AS tried ) AS of_level
    WHERE level.priority IS NOT NULL
    UNION ALL SELECT of_rest.due, of_rest.available_at, of_rest.delayed, of_rest.retrying, of_rest.looked_at,
      %(bound)s::INTEGER AS bound, (of_rest.due + of_rest.delayed) >= %(bound)s::INTEGER AS is_rest
    FROM (SELECT priority
    FROM level
    WHERE number = %(levels)s::INTEGER) AS last CROSS JOIN LATERAL ( SELECT count(CASE WHEN entry.available_at
      <= statement_timestamp() THEN 1 END) AS due, min(CASE WHEN entry.available_at <= statement_timestamp()
      THEN entry.available_at END) AS available_at, count(CASE WHEN entry.available_at > statement_timestamp()
      THEN 1 END) AS delayed, 0 AS retrying, 0 AS looked_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority <
      last.priority
    ORDER BY priority DESC, available_at
    LIMIT %(bound)s::INTEGER) AS entry ) AS of_rest
    WHERE last.priority IS NOT NULL) AS found) AS waiting;

-- waits_of_one_level
-- Return what ``waits`` returns, of those of some queues that have no second priority.
SELECT name.queue, found.due, CASE WHEN found.available_at IS NOT NULL THEN least(greatest(found.available_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, found.delayed, found.retrying,
      found.looked_at, found.due >= %(bound)s::INTEGER AS is_due_cut, found.delayed >= %(bound)s::INTEGER AS
      is_delayed_cut, found.looked_at < (found.due + found.delayed) AS is_retrying_cut
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue, unnest((%(tops)s::text)::smallint[]) AS
      priority) AS name CROSS JOIN LATERAL ( SELECT CASE WHEN (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND lower.priority
      < name.priority
    ORDER BY lower.priority DESC
    LIMIT 1) IS NULL THEN name.priority END AS priority OFFSET 0) AS level CROSS JOIN LATERAL ( SELECT
      due.messages AS due, due.available_at, later.messages AS delayed, tried.messages AS retrying,
      tried.looked_at
    FROM (SELECT count(*) AS messages, min(available_at) AS available_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT %(bound)s::INTEGER) AS entry) AS due CROSS JOIN (SELECT count(*) AS messages
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT %(bound)s::INTEGER) AS entry) AS later CROSS JOIN (SELECT count(*) AS looked_at, count(CASE WHEN
      attempts > 0 THEN 1 END) AS messages
    FROM (SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at <= statement_timestamp()
    ORDER BY available_at
    LIMIT %(sample)s::INTEGER) AS near
    UNION ALL SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = name.queue AND status = 'available' AND available_at >= '-infinity' AND priority =
      level.priority AND available_at > statement_timestamp()
    ORDER BY available_at
    LIMIT %(sample)s::INTEGER) AS far) AS entry) AS tried ) AS found
    WHERE level.priority IS NOT NULL;

-- last_consumed
-- Return when a message of the queue was consumed last.
SELECT CASE WHEN consumed_at IS NOT NULL THEN least(greatest(consumed_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') END AS consumed_at
    FROM (SELECT consumed_at
    FROM xclaim_message
    WHERE queue = %(queue_name)s::text AND consumed_at IS NOT NULL
    ORDER BY consumed_at DESC
    LIMIT 1) AS newest;

-- parts
-- Return the next parts of the index in some queues, and how many of the way's messages have.
WITH RECURSIVE part AS ( SELECT 1 AS place, %(level)s::INTEGER AS below, (NULL)::integer AS priority,
      (0)::bigint AS entries, (0)::bigint AS total, 0 AS number
    UNION ALL SELECT part.place + CASE WHEN next.priority IS NULL THEN 1 ELSE 0 END, coalesce(next.priority,
      32768), next.priority, counted.entries, part.total + CASE WHEN next.priority IS NULL THEN 0 ELSE
      greatest(counted.entries, 1) END, part.number + 1
    FROM part CROSS JOIN LATERAL (SELECT (SELECT (message.priority)::integer
    FROM xclaim_message AS message
    WHERE message.queue = ((%(queues)s::text)::text[])[part.place] AND status = 'available' AND available_at
      >= '-infinity' AND message.priority < part.below
    ORDER BY message.priority DESC
    LIMIT 1) AS priority OFFSET 0) AS next CROSS JOIN LATERAL (SELECT count(*) AS entries
    FROM (SELECT 1
    FROM xclaim_message
    WHERE queue = ((%(queues)s::text)::text[])[part.place] AND status = 'available' AND available_at >=
      '-infinity' AND priority = next.priority AND available_at <= statement_timestamp() AND next.priority IS
      NOT NULL
    LIMIT %(bound)s::INTEGER) AS entry) AS counted
    WHERE part.place <= cardinality((%(queues)s::text)::text[]) AND part.total < %(bound)s::INTEGER AND
      part.number < %(most)s::INTEGER) SELECT place, priority, entries
    FROM part
    WHERE priority IS NOT NULL
    ORDER BY number;

-- latest
-- Return when the messages that were consumed last were available, claimed and consumed.
SELECT name.queue, CASE WHEN latest.available_at IS NOT NULL THEN least(greatest(latest.available_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN latest.claimed_at IS
      NOT NULL THEN least(greatest(latest.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claimed_at, CASE WHEN latest.consumed_at IS NOT NULL THEN least(greatest(latest.consumed_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS consumed_at, statement_timestamp() AS now
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN LATERAL ( SELECT
      available_at, claimed_at, consumed_at
    FROM xclaim_message
    WHERE queue = name.queue AND consumed_at IS NOT NULL AND consumed_at <= statement_timestamp()
    ORDER BY consumed_at DESC
    LIMIT %(sample)s::INTEGER ) AS latest;

-- consumed_in_steps
-- Count what was consumed of some queues in each of ``most`` steps of time since ``after``.
SELECT name.queue, step.number, found.messages, found.consumed_at, found.later
    FROM (SELECT unnest((%(queues)s::text)::text[]) AS queue) AS name CROSS JOIN (SELECT generate_series(0,
      %(most)s::INTEGER - 1) AS number) AS step CROSS JOIN LATERAL ( SELECT count(*) AS messages,
      min(consumed_at) AS consumed_at, count(CASE WHEN consumed_at > earliest THEN 1 END) AS later
    FROM (SELECT consumed_at, min(consumed_at) OVER () AS earliest
    FROM (SELECT consumed_at
    FROM xclaim_message
    WHERE queue = name.queue AND consumed_at IS NOT NULL AND consumed_at > ((%(after)s::TIMESTAMP WITH TIME
      ZONE) + ((step.number * %(seconds)s) * interval '1 second')) AND consumed_at <= ((%(after)s::TIMESTAMP
      WITH TIME ZONE) + (((step.number + 1) * %(seconds)s) * interval '1 second'))
    ORDER BY consumed_at DESC
    LIMIT %(bound)s::INTEGER) AS newest) AS entry ) AS found;

-- newest_pushed
-- Return of the newest ``bound`` messages of all queues those pushed to one, and when.
SELECT CASE WHEN newest.created_at IS NOT NULL THEN least(greatest(newest.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS created_at, newest.origin_queue = %(queue_name)s::text
      AS is_of_queue
    FROM (SELECT created_at, origin_queue, id
    FROM xclaim_message
    ORDER BY id DESC
    LIMIT %(bound)s::INTEGER) AS newest;

-- newest_dead
-- Return when the newest ``bound`` dead letters of a queue died, of those since ``after``.
SELECT CASE WHEN newest.available_at IS NOT NULL THEN least(greatest(newest.available_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at
    FROM ( WITH RECURSIVE level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(dead_letter_queue)s::text AND status = 'available' AND available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(dead_letter_queue)s::text AND status = 'available' AND available_at >= '-infinity'
      AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < %(levels)s::INTEGER) SELECT of_level.available_at
    FROM level CROSS JOIN LATERAL ( SELECT available_at
    FROM xclaim_message
    WHERE queue = %(dead_letter_queue)s::text AND status = 'available' AND available_at >= '-infinity' AND
      priority = level.priority AND available_at > (%(after)s::TIMESTAMP WITH TIME ZONE) AND available_at <=
      statement_timestamp()
    ORDER BY available_at DESC
    LIMIT %(bound)s::INTEGER ) AS of_level
    WHERE level.priority IS NOT NULL
    ORDER BY of_level.available_at DESC
    LIMIT %(bound)s::INTEGER) AS newest;

-- available_range
-- Find what can be claimed of a queue: never run, only planned, for the estimate.
SELECT id
    FROM xclaim_message
    WHERE queue = %(queue_name)s::text AND status = 'available' AND available_at >= '-infinity' AND
      available_at <= statement_timestamp();

-- delayed_range
-- Find what is delayed of a queue: never run, only planned, for the estimate.
SELECT id
    FROM xclaim_message
    WHERE queue = %(queue_name)s::text AND status = 'available' AND available_at >= '-infinity' AND
      available_at > statement_timestamp();

-- claimed_range
-- Find what is claimed of a queue: never run, only planned, for the estimate.
SELECT id
    FROM xclaim_message
    WHERE queue = %(queue_name)s::text AND claim_expires_at IS NOT NULL;

-- readable
-- Return which of the confidential columns the role may read (PostgreSQL only).
SELECT has_column_privilege(%(message_table)s::text, 'payload', 'SELECT') AS payload,
      has_column_privilege(%(message_table)s::text, 'headers', 'SELECT') AS headers,
      has_column_privilege(%(message_table)s::text, 'last_error', 'SELECT') AS last_error,
      has_column_privilege(%(message_table)s::text, 'failures', 'SELECT') AS failures;

-- search, the newest by their payload
-- Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``.
SELECT looked.id, substr(looked.queue, 1, 1000) AS queue, substr(looked.origin_queue, 1, 1000) AS
      origin_queue, substr(looked.status, 1, 1000) AS status, looked.priority, substr(looked.unique_key, 1,
      1000) AS unique_key, looked.attempts, looked.max_attempts, least(greatest(looked.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (looked.available_at IS NOT NULL) THEN
      least(greatest(looked.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (looked.claimed_at IS NOT NULL) THEN least(greatest(looked.claimed_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN
      (looked.claim_expires_at IS NOT NULL) THEN least(greatest(looked.claim_expires_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN (looked.consumed_at IS NOT
      NULL) THEN least(greatest(looked.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS consumed_at, substr(looked.claimed_by, 1, 1000) AS claimed_by, substr(looked.consumed_by, 1, 1000) AS
      consumed_by, substr(looked.claim_key, 1, 1000) AS claim_key, substr(looked.last_error_class, 1, 1000) AS
      last_error_class, substr(looked.codec, 1, 1000) AS codec, substr(looked.ordering_key, 1, 1000) AS
      ordering_key, substr(looked.last_error, 1, 1000) AS last_error, looked.status = 'available' AND
      looked.available_at > statement_timestamp() AS is_later, looked.claim_expires_at <=
      statement_timestamp() AS is_lapsed
    FROM (SELECT xclaim_message.attempts AS attempts, xclaim_message.available_at AS available_at,
      xclaim_message.claim_expires_at AS claim_expires_at, xclaim_message.claim_key AS claim_key,
      xclaim_message.claimed_at AS claimed_at, xclaim_message.claimed_by AS claimed_by, xclaim_message.codec
      AS codec, xclaim_message.consumed_at AS consumed_at, xclaim_message.consumed_by AS consumed_by,
      xclaim_message.created_at AS created_at, xclaim_message.id AS id, xclaim_message.last_error AS
      last_error, xclaim_message.last_error_class AS last_error_class, xclaim_message.max_attempts AS
      max_attempts, xclaim_message.ordering_key AS ordering_key, xclaim_message.origin_queue AS origin_queue,
      xclaim_message.payload AS payload, xclaim_message.priority AS priority, xclaim_message.queue AS queue,
      xclaim_message.status AS status, xclaim_message.unique_key AS unique_key
    FROM xclaim_message
    WHERE xclaim_message.id <= %(from_id)s::BIGINT AND xclaim_message.id >= %(to_id)s::BIGINT
    ORDER BY xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    WHERE CASE WHEN (looked.codec IS NULL) THEN (looked.payload #> (ARRAY[%(step_0_0)s::text,
      %(step_0_1)s::text])) @> CAST(%(text_0)s::text AS jsonb) ELSE 1 = 0 END
    ORDER BY looked.id DESC
    LIMIT %(message_limit)s::INTEGER;

-- search, of several parts of the index together
-- Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``.
SELECT looked.id, substr(looked.queue, 1, 1000) AS queue, substr(looked.origin_queue, 1, 1000) AS
      origin_queue, substr(looked.status, 1, 1000) AS status, looked.priority, substr(looked.unique_key, 1,
      1000) AS unique_key, looked.attempts, looked.max_attempts, least(greatest(looked.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (looked.available_at IS NOT NULL) THEN
      least(greatest(looked.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (looked.claimed_at IS NOT NULL) THEN least(greatest(looked.claimed_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN
      (looked.claim_expires_at IS NOT NULL) THEN least(greatest(looked.claim_expires_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN (looked.consumed_at IS NOT
      NULL) THEN least(greatest(looked.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS consumed_at, substr(looked.claimed_by, 1, 1000) AS claimed_by, substr(looked.consumed_by, 1, 1000) AS
      consumed_by, substr(looked.claim_key, 1, 1000) AS claim_key, substr(looked.last_error_class, 1, 1000) AS
      last_error_class, substr(looked.codec, 1, 1000) AS codec, substr(looked.ordering_key, 1, 1000) AS
      ordering_key, substr(looked.last_error, 1, 1000) AS last_error, looked.status = 'available' AND
      looked.available_at > statement_timestamp() AS is_later, looked.claim_expires_at <=
      statement_timestamp() AS is_lapsed, looked.part, CAST(trunc(EXTRACT(epoch
    FROM looked.available_at) * 1000000) AS text) AS place
    FROM (SELECT of_part.attempts AS attempts, of_part.available_at AS available_at, of_part.claim_expires_at
      AS claim_expires_at, of_part.claim_key AS claim_key, of_part.claimed_at AS claimed_at,
      of_part.claimed_by AS claimed_by, of_part.codec AS codec, of_part.consumed_at AS consumed_at,
      of_part.consumed_by AS consumed_by, of_part.created_at AS created_at, of_part.headers AS headers,
      of_part.id AS id, of_part.last_error AS last_error, of_part.last_error_class AS last_error_class,
      of_part.max_attempts AS max_attempts, of_part.ordering_key AS ordering_key, of_part.origin_queue AS
      origin_queue, of_part.priority AS priority, of_part.queue AS queue, of_part.status AS status,
      of_part.unique_key AS unique_key, item.position AS part
    FROM unnest(CAST(%(queues)s::text AS text[]), CAST(%(levels)s::text AS INTEGER[])) WITH ORDINALITY AS
      item(queue, level, position) JOIN LATERAL (SELECT xclaim_message.attempts AS attempts,
      xclaim_message.available_at AS available_at, xclaim_message.claim_expires_at AS claim_expires_at,
      xclaim_message.claim_key AS claim_key, xclaim_message.claimed_at AS claimed_at,
      xclaim_message.claimed_by AS claimed_by, xclaim_message.codec AS codec, xclaim_message.consumed_at AS
      consumed_at, xclaim_message.consumed_by AS consumed_by, xclaim_message.created_at AS created_at,
      xclaim_message.headers AS headers, xclaim_message.id AS id, xclaim_message.last_error AS last_error,
      xclaim_message.last_error_class AS last_error_class, xclaim_message.max_attempts AS max_attempts,
      xclaim_message.ordering_key AS ordering_key, xclaim_message.origin_queue AS origin_queue,
      xclaim_message.priority AS priority, xclaim_message.queue AS queue, xclaim_message.status AS status,
      xclaim_message.unique_key AS unique_key
    FROM xclaim_message
    WHERE xclaim_message.queue = item.queue AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority = item.level
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS of_part ON true) AS looked
    WHERE CASE WHEN (jsonb_typeof(looked.headers -> 'run_id') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'run_id', 1, 4096) END = %(text_1)s::text OR
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') > 1 AND strpos(coalesce(looked.consumed_by,
      looked.claimed_by), '#') > 0 AND substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), 1, length(%(text_1)s::text)) =
      %(text_1)s::text AND substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 1,
      length('/')) = '/' AND split_part(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), '/',
      -1) = substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 2)
    ORDER BY looked.part, looked.available_at DESC, looked.id DESC
    LIMIT %(message_limit)s::INTEGER;

-- search, waiting and of an Airflow run
-- Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``.
SELECT looked.id, substr(looked.queue, 1, 1000) AS queue, substr(looked.origin_queue, 1, 1000) AS
      origin_queue, substr(looked.status, 1, 1000) AS status, looked.priority, substr(looked.unique_key, 1,
      1000) AS unique_key, looked.attempts, looked.max_attempts, least(greatest(looked.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (looked.available_at IS NOT NULL) THEN
      least(greatest(looked.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (looked.claimed_at IS NOT NULL) THEN least(greatest(looked.claimed_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN
      (looked.claim_expires_at IS NOT NULL) THEN least(greatest(looked.claim_expires_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN (looked.consumed_at IS NOT
      NULL) THEN least(greatest(looked.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS consumed_at, substr(looked.claimed_by, 1, 1000) AS claimed_by, substr(looked.consumed_by, 1, 1000) AS
      consumed_by, substr(looked.claim_key, 1, 1000) AS claim_key, substr(looked.last_error_class, 1, 1000) AS
      last_error_class, substr(looked.codec, 1, 1000) AS codec, substr(looked.ordering_key, 1, 1000) AS
      ordering_key, substr(looked.last_error, 1, 1000) AS last_error, looked.status = 'available' AND
      looked.available_at > statement_timestamp() AS is_later, looked.claim_expires_at <=
      statement_timestamp() AS is_lapsed, CAST(trunc(EXTRACT(epoch
    FROM looked.available_at) * 1000000) AS text) AS place
    FROM (SELECT xclaim_message.attempts AS attempts, xclaim_message.available_at AS available_at,
      xclaim_message.claim_expires_at AS claim_expires_at, xclaim_message.claim_key AS claim_key,
      xclaim_message.claimed_at AS claimed_at, xclaim_message.claimed_by AS claimed_by, xclaim_message.codec
      AS codec, xclaim_message.consumed_at AS consumed_at, xclaim_message.consumed_by AS consumed_by,
      xclaim_message.created_at AS created_at, xclaim_message.headers AS headers, xclaim_message.id AS id,
      xclaim_message.last_error AS last_error, xclaim_message.last_error_class AS last_error_class,
      xclaim_message.max_attempts AS max_attempts, xclaim_message.ordering_key AS ordering_key,
      xclaim_message.origin_queue AS origin_queue, xclaim_message.priority AS priority, xclaim_message.queue
      AS queue, xclaim_message.status AS status, xclaim_message.unique_key AS unique_key
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority = %(priority)s::INTEGER AND
      xclaim_message.available_at <= statement_timestamp() AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (%(place_infinite)s::text <> '') THEN CAST(%(place_infinite)s::text AS
      TIMESTAMP WITH TIME ZONE) ELSE '1970-01-01 00:00:00+00'::timestamptz + CAST(%(place_finite)s::text AS
      INTERVAL) END, %(place_id)s::BIGINT)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    WHERE CASE WHEN (jsonb_typeof(looked.headers -> 'run_id') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'run_id', 1, 4096) END = %(text_1)s::text OR
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') > 1 AND strpos(coalesce(looked.consumed_by,
      looked.claimed_by), '#') > 0 AND substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), 1, length(%(text_1)s::text)) =
      %(text_1)s::text AND substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 1,
      length('/')) = '/' AND split_part(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), '/',
      -1) = substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 2)
    ORDER BY looked.available_at DESC, looked.id DESC
    LIMIT %(message_limit)s::INTEGER;

-- search_ids
-- Return the ids, queues and statuses of those of the next messages that pass all tests.
SELECT looked.id, looked.queue, looked.status
    FROM (SELECT xclaim_message.attempts AS attempts, xclaim_message.available_at AS available_at,
      xclaim_message.claim_expires_at AS claim_expires_at, xclaim_message.claim_key AS claim_key,
      xclaim_message.claimed_at AS claimed_at, xclaim_message.claimed_by AS claimed_by, xclaim_message.codec
      AS codec, xclaim_message.consumed_at AS consumed_at, xclaim_message.consumed_by AS consumed_by,
      xclaim_message.created_at AS created_at, xclaim_message.headers AS headers, xclaim_message.id AS id,
      xclaim_message.last_error AS last_error, xclaim_message.last_error_class AS last_error_class,
      xclaim_message.max_attempts AS max_attempts, xclaim_message.ordering_key AS ordering_key,
      xclaim_message.origin_queue AS origin_queue, xclaim_message.priority AS priority, xclaim_message.queue
      AS queue, xclaim_message.status AS status, xclaim_message.unique_key AS unique_key
    FROM xclaim_message
    WHERE xclaim_message.id <= %(from_id)s::BIGINT AND xclaim_message.id >= %(to_id)s::BIGINT
    ORDER BY xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    WHERE CASE WHEN (jsonb_typeof(looked.headers -> 'run_id') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'run_id', 1, 4096) END = %(text_1)s::text OR
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') > 1 AND strpos(coalesce(looked.consumed_by,
      looked.claimed_by), '#') > 0 AND substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), 1, length(%(text_1)s::text)) =
      %(text_1)s::text AND substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 1,
      length('/')) = '/' AND split_part(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), '/',
      -1) = substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      strpos(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(%(text_1)s::text) + 1), 2)
    ORDER BY looked.id DESC
    LIMIT %(message_limit)s::INTEGER;

-- looked_through
-- Return how many the next ``LOOK`` messages are, with the last of them.
SELECT looked.id, least(greatest(looked.created_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') AS
      created_at, CAST(trunc(EXTRACT(epoch
    FROM looked.available_at) * 1000000) AS text) AS place, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id, xclaim_message.created_at AS created_at, xclaim_message.available_at
      AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority = %(priority)s::INTEGER AND
      xclaim_message.available_at <= statement_timestamp() AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (%(place_infinite)s::text <> '') THEN CAST(%(place_infinite)s::text AS
      TIMESTAMP WITH TIME ZONE) ELSE '1970-01-01 00:00:00+00'::timestamptz + CAST(%(place_finite)s::text AS
      INTERVAL) END, %(place_id)s::BIGINT)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked) AS looked_at
    FROM (SELECT xclaim_message.id AS id, xclaim_message.created_at AS created_at, xclaim_message.available_at
      AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority = %(priority)s::INTEGER AND
      xclaim_message.available_at <= statement_timestamp() AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (%(place_infinite)s::text <> '') THEN CAST(%(place_infinite)s::text AS
      TIMESTAMP WITH TIME ZONE) ELSE '1970-01-01 00:00:00+00'::timestamptz + CAST(%(place_finite)s::text AS
      INTERVAL) END, %(place_id)s::BIGINT)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    ORDER BY looked.available_at, looked.id
    LIMIT 1;

-- counted_to
-- Count the next ``LOOK`` messages down to one of them.
SELECT count(*) AS looked_at
    FROM (SELECT xclaim_message.id AS id, xclaim_message.available_at AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority = %(priority)s::INTEGER AND
      xclaim_message.available_at <= statement_timestamp() AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (%(place_infinite)s::text <> '') THEN CAST(%(place_infinite)s::text AS
      TIMESTAMP WITH TIME ZONE) ELSE '1970-01-01 00:00:00+00'::timestamptz + CAST(%(place_finite)s::text AS
      INTERVAL) END, %(place_id)s::BIGINT)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    WHERE (looked.available_at, looked.id) >= (CASE WHEN (%(end_infinite)s::text <> '') THEN
      CAST(%(end_infinite)s::text AS TIMESTAMP WITH TIME ZONE) ELSE '1970-01-01 00:00:00+00'::timestamptz +
      CAST(%(end_finite)s::text AS INTERVAL) END, %(end_id)s::BIGINT);

-- next_queue
-- Return the names of queues behind one, as many as ``LIMIT``: a descent of an index each.
WITH RECURSIVE found(name, number) AS (SELECT (SELECT first.queue
    FROM xclaim_message AS first
    WHERE first.claim_expires_at IS NOT NULL AND first.queue > %(queue_name)s::text
    ORDER BY first.queue
    LIMIT 1) AS name, 1 AS number
    UNION ALL SELECT (SELECT following.queue
    FROM xclaim_message AS following
    WHERE following.claim_expires_at IS NOT NULL AND following.queue > found.name
    ORDER BY following.queue
    LIMIT 1) AS anon_1, found.number + 1 AS anon_2
    FROM found
    WHERE found.name IS NOT NULL AND found.number < %(message_limit)s::INTEGER) SELECT found.name AS queue
    FROM found
    WHERE found.name IS NOT NULL
    ORDER BY found.number;

-- next_level
-- Return the next lower priority in which messages of the queue wait.
SELECT xclaim_message.priority
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::text AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.priority < %(priority)s::INTEGER
    ORDER BY xclaim_message.priority DESC
    LIMIT 1;

-- keyed_ids
-- Return the ids of the messages with a unique key, in whatever queue: a descent for each.
WITH RECURSIVE origin(name, number) AS (SELECT (SELECT first.origin_queue
    FROM xclaim_message AS first
    WHERE first.unique_key IS NOT NULL
    ORDER BY first.origin_queue
    LIMIT 1) AS name, 1 AS number
    UNION ALL SELECT (SELECT following.origin_queue
    FROM xclaim_message AS following
    WHERE following.unique_key IS NOT NULL AND following.origin_queue > origin.name
    ORDER BY following.origin_queue
    LIMIT 1) AS anon_1, origin.number + 1 AS anon_2
    FROM origin
    WHERE origin.name IS NOT NULL AND origin.number < 10000) SELECT found.id
    FROM (SELECT (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = origin.name AND xclaim_message.unique_key = %(key)s::text) AS id
    FROM origin) AS found
    WHERE found.id IS NOT NULL
    ORDER BY found.id;

-- beginnings
-- Return the beginning of the payloads of some messages, unless they are large or encoded.
SELECT xclaim_message.id, CASE WHEN (xclaim_message.codec IS NULL) THEN CASE WHEN
      (pg_column_size(xclaim_message.payload) <= 32768) THEN substr(CAST(xclaim_message.payload AS text), 1,
      300) END END AS excerpt, pg_column_size(xclaim_message.payload) AS size
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST(%(ids)s::text AS BIGINT[])) WITH ORDINALITY AS item(id, position))));

-- look_at
-- Return one message, without its JSON.
SELECT xclaim_message.id, substr(xclaim_message.queue, 1, 1000) AS queue, substr(xclaim_message.origin_queue,
      1, 1000) AS origin_queue, substr(xclaim_message.status, 1, 1000) AS status, xclaim_message.priority,
      substr(xclaim_message.unique_key, 1, 1000) AS unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, least(greatest(xclaim_message.created_at, '0001-01-03 00:00:00+00'),
      '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (xclaim_message.available_at IS NOT NULL) THEN
      least(greatest(xclaim_message.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, CASE WHEN (xclaim_message.consumed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      consumed_at, substr(xclaim_message.claimed_by, 1, 1000) AS claimed_by,
      substr(xclaim_message.consumed_by, 1, 1000) AS consumed_by, substr(xclaim_message.claim_key, 1, 1000) AS
      claim_key, substr(xclaim_message.last_error_class, 1, 1000) AS last_error_class,
      substr(xclaim_message.codec, 1, 1000) AS codec, substr(xclaim_message.ordering_key, 1, 1000) AS
      ordering_key, substr(xclaim_message.last_error, 1, 10000) AS last_error, xclaim_message.status =
      'available' AND xclaim_message.available_at > statement_timestamp() AS is_later,
      xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT;

-- document
-- Return the beginning of a JSON column of a message, and how large it is.
SELECT CASE WHEN (pg_column_size(xclaim_message.payload) <= 2147483647) THEN
      substr(CAST(xclaim_message.payload AS text), 1, 100001) END AS text,
      pg_column_size(xclaim_message.payload) AS size
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT;

-- place_of_payload
-- Return whether an encoded payload is in the storage, and not in the row.
SELECT CASE WHEN (jsonb_typeof(xclaim_message.payload -> 'uri') = ANY (ARRAY['string', 'number'])) THEN
      substr(xclaim_message.payload ->> 'uri', 1, 4096) END IS NOT NULL AS is_stored
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT;

-- held
-- Return who holds what, by queue and by the end of the lease: no tokens.
SELECT xclaim_message.id, substr(xclaim_message.queue, 1, 1000) AS queue, substr(xclaim_message.claimed_by, 1,
      1000) AS claimed_by, xclaim_message.attempts, CASE WHEN (xclaim_message.claimed_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claimed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      claimed_at, CASE WHEN (xclaim_message.claim_expires_at IS NOT NULL) THEN
      least(greatest(xclaim_message.claim_expires_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS claim_expires_at, substr(xclaim_message.last_error_class, 1, 1000) AS last_error_class,
      xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed, CAST(trunc(EXTRACT(epoch
    FROM xclaim_message.claim_expires_at) * 1000000) AS text) AS place
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL AND (xclaim_message.queue,
      xclaim_message.claim_expires_at, xclaim_message.id) > (%(queue_name)s::text, CASE WHEN
      (%(place_infinite)s::text <> '') THEN CAST(%(place_infinite)s::text AS TIMESTAMP WITH TIME ZONE) ELSE
      '1970-01-01 00:00:00+00'::timestamptz + CAST(%(place_finite)s::text AS INTERVAL) END,
      %(place_id)s::BIGINT)
    ORDER BY xclaim_message.queue, xclaim_message.claim_expires_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- letters_by_error
-- Count the newest dead letters of a queue, ``LOOK`` of them, by their error.
SELECT said.position, said.last_error_class AS last_error_class, said.first_line AS first_line, count(*) AS
      letters, CASE WHEN (min(said.available_at) IS NOT NULL) THEN least(greatest(min(said.available_at),
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS available_at, CASE WHEN
      (max(said.available_at) IS NOT NULL) THEN least(greatest(max(said.available_at), '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, max(said.id) AS id
    FROM (SELECT newest.position AS position, newest.id AS id, newest.available_at AS available_at,
      substr(newest.last_error_class, 1, 1000) AS last_error_class, CASE WHEN
      (strpos(substr(newest.last_error, 1, 300), chr(10)) > 0) THEN substr(substr(newest.last_error, 1, 300),
      1, strpos(substr(newest.last_error, 1, 300), chr(10)) - 1) ELSE substr(newest.last_error, 1, 300) END AS
      first_line
    FROM (SELECT item.position AS position, of_each.id AS id, of_each.available_at AS available_at,
      of_each.last_error_class AS last_error_class, of_each.last_error AS last_error
    FROM unnest(CAST(%(queues)s::text AS text[])) WITH ORDINALITY AS item(queue, position) JOIN LATERAL
      (SELECT xclaim_message.id AS id, xclaim_message.available_at AS available_at,
      xclaim_message.last_error_class AS last_error_class, xclaim_message.last_error AS last_error
    FROM xclaim_message
    WHERE xclaim_message.queue = item.queue AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity'
    ORDER BY xclaim_message.priority, xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS of_each ON true) AS newest) AS said GROUP BY said.position,
      said.last_error_class, said.first_line
    ORDER BY said.position, count(*) DESC, max(said.id) DESC;

-- work
-- Return those of the next ``LOOK`` messages that a part of a DAG run has had to do with.
SELECT looked.id, substr(looked.queue, 1, 1000) AS queue, substr(looked.origin_queue, 1, 1000) AS
      origin_queue, substr(looked.status, 1, 1000) AS status, looked.priority, substr(looked.unique_key, 1,
      1000) AS unique_key, looked.attempts, looked.max_attempts, least(greatest(looked.created_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') AS created_at, CASE WHEN (looked.available_at IS NOT NULL) THEN
      least(greatest(looked.available_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS
      available_at, CASE WHEN (looked.claimed_at IS NOT NULL) THEN least(greatest(looked.claimed_at,
      '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END AS claimed_at, CASE WHEN
      (looked.claim_expires_at IS NOT NULL) THEN least(greatest(looked.claim_expires_at, '0001-01-03
      00:00:00+00'), '9999-12-29 00:00:00+00') END AS claim_expires_at, CASE WHEN (looked.consumed_at IS NOT
      NULL) THEN least(greatest(looked.consumed_at, '0001-01-03 00:00:00+00'), '9999-12-29 00:00:00+00') END
      AS consumed_at, substr(looked.claimed_by, 1, 1000) AS claimed_by, substr(looked.consumed_by, 1, 1000) AS
      consumed_by, substr(looked.claim_key, 1, 1000) AS claim_key, substr(looked.last_error_class, 1, 1000) AS
      last_error_class, substr(looked.codec, 1, 1000) AS codec, substr(looked.ordering_key, 1, 1000) AS
      ordering_key, substr(looked.last_error, 1, 1000) AS last_error, looked.status = 'available' AND
      looked.available_at > statement_timestamp() AS is_later, looked.claim_expires_at <=
      statement_timestamp() AS is_lapsed, coalesce(CASE WHEN (jsonb_typeof(looked.headers -> 'dag_id') = ANY
      (ARRAY['string', 'number'])) THEN substr(looked.headers ->> 'dag_id', 1, 4096) END =
      %(producer_dag_id)s::text AND CASE WHEN (jsonb_typeof(looked.headers -> 'run_id') = ANY (ARRAY['string',
      'number'])) THEN substr(looked.headers ->> 'run_id', 1, 4096) END = %(producer_run_id)s::text AND CASE
      WHEN (jsonb_typeof(looked.headers -> 'task_id') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'task_id', 1, 4096) END = %(producer_task_id)s::text AND CASE WHEN
      (jsonb_typeof(looked.headers -> 'map_index') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'map_index', 1, 4096) END = %(producer_map_index)s::text, 1 = 0) AS is_pushed,
      coalesce(looked.status = 'claimed' AND substr(looked.claimed_by, 1, length(%(claimant_0)s::text)) =
      %(claimant_0)s::text, 1 = 0) AS is_held, coalesce(looked.status = 'consumed' AND
      substr(looked.consumed_by, 1, length(%(claimant_0)s::text)) = %(claimant_0)s::text, 1 = 0) AS
      is_consumed, coalesce(CASE WHEN (looked.failures IS NOT NULL) THEN EXISTS (SELECT 1
    FROM jsonb_array_elements(CASE WHEN (jsonb_typeof(looked.failures) = 'array') THEN looked.failures ELSE
      CAST('[]' AS jsonb) END) AS element(value)
    WHERE substr(CASE WHEN (jsonb_typeof(element.value -> 'claimed_by') = ANY (ARRAY['string', 'number']))
      THEN substr(element.value ->> 'claimed_by', 1, 4096) END, 1, length(%(claimant_0)s::text)) =
      %(claimant_0)s::text) ELSE 1 = 0 END, 1 = 0) AS is_failed
    FROM (SELECT xclaim_message.attempts AS attempts, xclaim_message.available_at AS available_at,
      xclaim_message.claim_expires_at AS claim_expires_at, xclaim_message.claim_key AS claim_key,
      xclaim_message.claimed_at AS claimed_at, xclaim_message.claimed_by AS claimed_by, xclaim_message.codec
      AS codec, xclaim_message.consumed_at AS consumed_at, xclaim_message.consumed_by AS consumed_by,
      xclaim_message.created_at AS created_at, xclaim_message.failures AS failures, xclaim_message.headers AS
      headers, xclaim_message.id AS id, xclaim_message.last_error AS last_error,
      xclaim_message.last_error_class AS last_error_class, xclaim_message.max_attempts AS max_attempts,
      xclaim_message.ordering_key AS ordering_key, xclaim_message.origin_queue AS origin_queue,
      xclaim_message.priority AS priority, xclaim_message.queue AS queue, xclaim_message.status AS status,
      xclaim_message.unique_key AS unique_key
    FROM xclaim_message
    WHERE xclaim_message.id <= %(from_id)s::BIGINT AND xclaim_message.id >= %(to_id)s::BIGINT
    ORDER BY xclaim_message.id DESC
    LIMIT %(look)s::INTEGER) AS looked
    WHERE coalesce(CASE WHEN (jsonb_typeof(looked.headers -> 'dag_id') = ANY (ARRAY['string', 'number'])) THEN
      substr(looked.headers ->> 'dag_id', 1, 4096) END = %(producer_dag_id)s::text AND CASE WHEN
      (jsonb_typeof(looked.headers -> 'run_id') = ANY (ARRAY['string', 'number'])) THEN substr(looked.headers
      ->> 'run_id', 1, 4096) END = %(producer_run_id)s::text AND CASE WHEN (jsonb_typeof(looked.headers ->
      'task_id') = ANY (ARRAY['string', 'number'])) THEN substr(looked.headers ->> 'task_id', 1, 4096) END =
      %(producer_task_id)s::text AND CASE WHEN (jsonb_typeof(looked.headers -> 'map_index') = ANY
      (ARRAY['string', 'number'])) THEN substr(looked.headers ->> 'map_index', 1, 4096) END =
      %(producer_map_index)s::text, 1 = 0) OR coalesce(looked.status = 'claimed' AND substr(looked.claimed_by,
      1, length(%(claimant_0)s::text)) = %(claimant_0)s::text, 1 = 0) OR coalesce(looked.status = 'consumed'
      AND substr(looked.consumed_by, 1, length(%(claimant_0)s::text)) = %(claimant_0)s::text, 1 = 0) OR
      coalesce(CASE WHEN (looked.failures IS NOT NULL) THEN EXISTS (SELECT 1
    FROM jsonb_array_elements(CASE WHEN (jsonb_typeof(looked.failures) = 'array') THEN looked.failures ELSE
      CAST('[]' AS jsonb) END) AS element(value)
    WHERE substr(CASE WHEN (jsonb_typeof(element.value -> 'claimed_by') = ANY (ARRAY['string', 'number']))
      THEN substr(element.value ->> 'claimed_by', 1, 4096) END, 1, length(%(claimant_0)s::text)) =
      %(claimant_0)s::text) ELSE 1 = 0 END, 1 = 0)
    ORDER BY looked.id DESC
    LIMIT %(message_limit)s::INTEGER;
