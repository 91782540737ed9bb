-- What xclaim sends to postgresql; written by `python -m tests.sql_docs`.

-- push
-- Insert the payloads in their order, and return what the producer does not know.
WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
      max_attempts, created_at, available_at) SELECT %(queue_name)s::VARCHAR AS queue, %(queue_name)s::VARCHAR
      AS origin_queue, %(message_priority)s::SMALLINT AS priority, item.payload AS payload,
      CAST(%(message_headers)s::VARCHAR AS JSONB) AS headers, CAST(NULL AS TEXT) AS unique_key,
      %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at, statement_timestamp()
      + %(delay_seconds)s * interval '1 second' AS available_at
    FROM jsonb_array_elements(CAST(%(payloads)s::VARCHAR AS JSONB)) WITH ORDINALITY AS item(payload, position)
    ORDER BY item.position
    RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at) SELECT
      array_agg(pushed.id
    ORDER BY pushed.id) AS ids, min(pushed.created_at) AS created_at, min(pushed.available_at) AS available_at
    FROM pushed;

-- push_once
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS JSONB) AS payload, item.unique_key AS unique_key,
      item.position AS position
    FROM unnest(CAST((SELECT %(payloads)s::VARCHAR AS anon_1) AS TEXT[]), CAST((SELECT
      %(unique_keys)s::VARCHAR AS anon_2) AS TEXT[])) WITH ORDINALITY AS item(payload, unique_key, position)),
      existing AS MATERIALIZED (SELECT taken.id AS id, taken.queue AS queue, taken.origin_queue AS
      origin_queue, taken.status AS status, taken.priority AS priority, taken.payload AS payload,
      taken.headers AS headers, taken.unique_key AS unique_key, taken.attempts AS attempts, taken.max_attempts
      AS max_attempts, taken.created_at AS created_at, taken.available_at AS available_at, taken.claimed_at AS
      claimed_at, taken.claim_expires_at AS claim_expires_at, taken.consumed_at AS consumed_at,
      taken.claimed_by AS claimed_by, taken.consumed_by AS consumed_by, taken.claim_key AS claim_key,
      taken.last_error AS last_error, taken.last_error_class AS last_error_class, taken.codec AS codec,
      taken.payload = incoming.payload AND taken.codec IS NULL AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::VARCHAR AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at) SELECT
      %(queue_name)s::VARCHAR AS queue, %(queue_name)s::VARCHAR AS origin_queue,
      %(message_priority)s::SMALLINT AS priority, incoming.payload AS payload,
      CAST(%(message_headers)s::VARCHAR AS JSONB) AS headers, CAST(incoming.unique_key AS TEXT) AS unique_key,
      %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at, statement_timestamp()
      + %(delay_seconds)s * interval '1 second' AS available_at
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO UPDATE
    SET max_attempts = CASE WHEN (xclaim_message.payload = excluded.payload AND xclaim_message.codec IS NOT
      DISTINCT
    FROM excluded.codec) THEN xclaim_message.max_attempts ELSE -1 END
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec, existing.is_same,
      false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, true AS is_same, pushed.created_at = statement_timestamp() AS is_new
    FROM pushed;

-- clashing_keys
-- Return the unique keys that are taken by another payload.
SELECT xclaim_message.unique_key
    FROM unnest(CAST((SELECT %(payloads)s::VARCHAR AS anon_1) AS TEXT[]), CAST((SELECT
      %(unique_keys)s::VARCHAR AS anon_2) AS TEXT[])) WITH ORDINALITY AS item(payload, unique_key, position)
      JOIN xclaim_message ON xclaim_message.origin_queue = %(queue_name)s::VARCHAR AND
      xclaim_message.unique_key = item.unique_key AND (xclaim_message.payload != CAST(item.payload AS JSONB)
      OR xclaim_message.codec IS NOT NULL);

-- claim
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::VARCHAR AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::VARCHAR AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1
    FROM level
    WHERE level.priority IS NOT NULL), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp()
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR UPDATE SKIP LOCKED) AS picked
    LIMIT 1) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- claim_one
-- Claim this very message, or take it back from an earlier attempt of the same claim key.
WITH taken AS MATERIALIZED (SELECT wanted.id AS id
    FROM xclaim_message AS wanted
    WHERE wanted.id = %(message_id)s::BIGINT AND wanted.queue = %(queue_name)s::VARCHAR AND (wanted.status =
      'available' AND wanted.available_at <= statement_timestamp() OR wanted.status = 'claimed' AND
      wanted.claim_key = %(key)s::VARCHAR AND wanted.claimed_by != %(claimant)s::VARCHAR AND NOT
      coalesce(wanted.attempts >= CASE WHEN %(is_limited)s THEN %(most_attempts)s::INTEGER ELSE
      wanted.max_attempts END, 1 = 0)) FOR UPDATE) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM taken))) AND xclaim_message.status != 'consumed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- resume
-- Take over what a ticket hands on, or take back what an earlier attempt took over with it.
WITH taken AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key IN (%(handed_on_key)s::VARCHAR, %(key)s::VARCHAR) AND held.queue =
      %(queue_name)s::VARCHAR AND held.status = 'claimed' AND (held.claim_key = %(handed_on_key)s::VARCHAR AND
      held.claimed_by = %(handed_on_by)s::VARCHAR OR held.claim_key = %(key)s::VARCHAR AND held.claimed_by !=
      %(claimant)s::VARCHAR AND NOT coalesce(held.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0))
    ORDER BY held.id FOR UPDATE) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + CASE WHEN (xclaim_message.claim_key = %(key)s::VARCHAR) THEN 1
      ELSE 0 END), claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp() +
      %(lease_seconds)s * interval '1 second'), claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid()
      AS TEXT), '-', ''), 1, 16) AS substr_1) || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID),
      status='claimed', claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM taken))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- ack
-- Consume the claimed message. By the primary key, so that no partial index is walked.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id;

-- ack_many
-- Consume each claimed message that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[]), CAST((SELECT %(tokens)s::VARCHAR AS
      anon_2) AS UUID[])) WITH ORDINALITY AS item(id, token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- ack_reduced
-- Consume each claimed message that is still held, and leave less of its payload.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL, codec=CAST(item.codec AS TEXT),
      payload=CAST(item.payload AS JSONB)
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[]), CAST((SELECT %(tokens)s::VARCHAR AS
      anon_2) AS UUID[]), CAST((SELECT %(payloads)s::VARCHAR AS anon_3) AS TEXT[]), CAST((SELECT
      %(codecs)s::VARCHAR AS anon_4) AS TEXT[])) WITH ORDINALITY AS item(id, token, payload, codec, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- note_failure
-- Keep the error of an attempt and the claim, whose lease ends so long from now.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      last_error=%(error)s::VARCHAR, last_error_class=%(error_class)s::VARCHAR, failures=(CASE WHEN NOT
      coalesce(jsonb_typeof(xclaim_message.failures) = 'array', false) THEN CAST('[]' AS JSONB) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt', xclaim_message.attempts,
      'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
      xclaim_message.claimed_by, 'error_class', %(error_class)s::VARCHAR, 'error', substr(%(error)s::VARCHAR,
      1, 1000))))
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec;

-- hand_back
-- Make claimed messages available again, at their places, and take the attempts back.
UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts - 1), claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL,
      status='available', claimed_by=NULL, claim_key=NULL
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[]), CAST((SELECT %(tokens)s::VARCHAR AS
      anon_2) AS UUID[])) WITH ORDINALITY AS item(id, token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- extend
-- Set the end of the lease, counted from now.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second')
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.claim_expires_at;

-- extend_many
-- Set the end of the lease of each claim that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second')
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[]), CAST((SELECT %(tokens)s::VARCHAR AS
      anon_2) AS UUID[])) WITH ORDINALITY AS item(id, token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id;

-- expire
-- Give back lapsed claims, after a pause that began with the claim, or as dead letters.
WITH lapsed AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = %(queue_name)s::VARCHAR AND held.claim_expires_at <= statement_timestamp()
    ORDER BY held.claim_expires_at
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue !=
      %(dead_letter_queue)s::VARCHAR) THEN statement_timestamp() ELSE greatest(statement_timestamp(),
      xclaim_message.claimed_at + CAST(CAST(%(pauses)s::VARCHAR AS JSONB) ->>
      greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER) - 1, 0) AS DOUBLE PRECISION) * (1.0 -
      %(jitter)s * (((xclaim_message.id + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION))) *
      interval '1 second') END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=CASE WHEN coalesce(((xclaim_message.failures -> -1) ->> 'attempt') =
      CAST(xclaim_message.attempts AS TEXT) AND ((xclaim_message.failures -> -1) ->> 'claimed_by') =
      xclaim_message.claimed_by, 1 = 0) THEN (xclaim_message.failures -> -1) ->> 'error' ELSE 'lease expired,
      claimed by ' || xclaim_message.claimed_by END, last_error_class=CASE WHEN
      coalesce(((xclaim_message.failures -> -1) ->> 'attempt') = CAST(xclaim_message.attempts AS TEXT) AND
      ((xclaim_message.failures -> -1) ->> 'claimed_by') = xclaim_message.claimed_by, 1 = 0) THEN
      (xclaim_message.failures -> -1) ->> 'error_class' ELSE 'LeaseExpired' END, failures=CASE WHEN
      coalesce(((xclaim_message.failures -> -1) ->> 'attempt') = CAST(xclaim_message.attempts AS TEXT) AND
      ((xclaim_message.failures -> -1) ->> 'claimed_by') = xclaim_message.claimed_by, 1 = 0) THEN
      xclaim_message.failures ELSE CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array',
      false) THEN CAST('[]' AS JSONB) WHEN (jsonb_array_length(xclaim_message.failures) >= 20) THEN
      xclaim_message.failures - 0 ELSE xclaim_message.failures END ||
      jsonb_build_array(jsonb_build_object('attempt', xclaim_message.attempts, 'at', to_char(timezone('UTC',
      statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', xclaim_message.claimed_by,
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      xclaim_message.claimed_by, 1, 1000))) END, queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
      %(is_limited)s THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      %(dead_letter_queue)s::VARCHAR ELSE xclaim_message.queue END
    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
    FROM lapsed))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts, xclaim_message.available_at;

-- expire_others
-- Give back lapsed claims but for those of a claim key, which takes them back itself.
WITH lapsed AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = %(queue_name)s::VARCHAR AND held.claim_expires_at <= statement_timestamp() AND
      held.claim_key IS DISTINCT
    FROM %(key)s::VARCHAR
    ORDER BY held.claim_expires_at
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue !=
      %(dead_letter_queue)s::VARCHAR) THEN statement_timestamp() ELSE greatest(statement_timestamp(),
      xclaim_message.claimed_at + CAST(CAST(%(pauses)s::VARCHAR AS JSONB) ->>
      greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER) - 1, 0) AS DOUBLE PRECISION) * (1.0 -
      %(jitter)s * (((xclaim_message.id + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION))) *
      interval '1 second') END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=CASE WHEN coalesce(((xclaim_message.failures -> -1) ->> 'attempt') =
      CAST(xclaim_message.attempts AS TEXT) AND ((xclaim_message.failures -> -1) ->> 'claimed_by') =
      xclaim_message.claimed_by, 1 = 0) THEN (xclaim_message.failures -> -1) ->> 'error' ELSE 'lease expired,
      claimed by ' || xclaim_message.claimed_by END, last_error_class=CASE WHEN
      coalesce(((xclaim_message.failures -> -1) ->> 'attempt') = CAST(xclaim_message.attempts AS TEXT) AND
      ((xclaim_message.failures -> -1) ->> 'claimed_by') = xclaim_message.claimed_by, 1 = 0) THEN
      (xclaim_message.failures -> -1) ->> 'error_class' ELSE 'LeaseExpired' END, failures=CASE WHEN
      coalesce(((xclaim_message.failures -> -1) ->> 'attempt') = CAST(xclaim_message.attempts AS TEXT) AND
      ((xclaim_message.failures -> -1) ->> 'claimed_by') = xclaim_message.claimed_by, 1 = 0) THEN
      xclaim_message.failures ELSE CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array',
      false) THEN CAST('[]' AS JSONB) WHEN (jsonb_array_length(xclaim_message.failures) >= 20) THEN
      xclaim_message.failures - 0 ELSE xclaim_message.failures END ||
      jsonb_build_array(jsonb_build_object('attempt', xclaim_message.attempts, 'at', to_char(timezone('UTC',
      statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by', xclaim_message.claimed_by,
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      xclaim_message.claimed_by, 1, 1000))) END, queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
      %(is_limited)s THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      %(dead_letter_queue)s::VARCHAR ELSE xclaim_message.queue END
    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
    FROM lapsed))) AND xclaim_message.status = 'claimed'
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts, xclaim_message.available_at;

-- redrive
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::VARCHAR AND letter.status = 'available' AND
      letter.available_at >= '-infinity'
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=statement_timestamp(), attempts=0, claim_key=NULL, queue=%(queue_name)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT dead.id
    FROM dead))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- prune
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::VARCHAR AND "old".consumed_at <= statement_timestamp() +
      (-CAST(%(age_seconds)s AS FLOAT)) * interval '1 second'
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT pruned.id
    FROM pruned))) AND xclaim_message.status = 'consumed'
    RETURNING xclaim_message.id;

-- redrivable
-- Count the dead letters that ``redrive`` would move.
SELECT count(*) AS messages
    FROM (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::VARCHAR AND letter.status = 'available' AND
      letter.available_at >= '-infinity'
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER) AS chosen;

-- prunable
-- Count the messages that ``prune`` would delete.
SELECT count(*) AS messages
    FROM (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::VARCHAR AND "old".consumed_at <= statement_timestamp() +
      (-CAST(%(age_seconds)s AS FLOAT)) * interval '1 second'
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER) AS chosen;

-- withdraw
-- Delete the messages under these unique keys that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = %(queue_name)s::VARCHAR AND xclaim_message.unique_key = ANY
      (array((SELECT item.unique_key
    FROM unnest(CAST((SELECT %(unique_keys)s::VARCHAR AS anon_1) AS TEXT[])) WITH ORDINALITY AS
      item(unique_key, position)))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- withdraw_by_id
-- Delete the messages with these ids that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[])) WITH ORDINALITY AS item(id,
      position)))) AND (xclaim_message.origin_queue = %(queue_name)s::VARCHAR OR xclaim_message.queue =
      %(queue_name)s::VARCHAR) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- peek
-- Return the messages that would be claimed next, without claiming them.
WITH RECURSIVE level(priority) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::VARCHAR AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::VARCHAR AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1
    FROM level
    WHERE level.priority IS NOT NULL), upcoming AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp()
    ORDER BY waiting.available_at, waiting.id
    LIMIT %(message_limit)s::INTEGER) AS picked
    LIMIT %(message_limit)s::INTEGER) SELECT xclaim_message.id, xclaim_message.queue,
      xclaim_message.origin_queue, xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
      xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts, xclaim_message.max_attempts,
      xclaim_message.created_at, xclaim_message.available_at, xclaim_message.claimed_at,
      xclaim_message.claim_expires_at, xclaim_message.consumed_at, xclaim_message.claimed_by,
      xclaim_message.consumed_by, xclaim_message.claim_key, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT upcoming.id
    FROM upcoming)))
    ORDER BY xclaim_message.priority DESC, xclaim_message.available_at, xclaim_message.id;

-- newest
-- Return when the newest of the messages that can be claimed now became available.
WITH RECURSIVE level(priority) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::VARCHAR AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::VARCHAR AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1
    FROM level
    WHERE level.priority IS NOT NULL) SELECT max(newest.available_at) AS available_at
    FROM (SELECT (SELECT waiting.available_at
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND waiting.available_at >= '-infinity'
    ORDER BY waiting.available_at DESC
    LIMIT 1) AS available_at
    FROM level) AS newest;

-- get
-- Return the message if it is in the queue or was pushed to it.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::VARCHAR OR
      xclaim_message.origin_queue = %(queue_name)s::VARCHAR);

-- get_many
-- Return the messages with these ids, whatever their queue.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT item.id
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[])) WITH ORDINALITY AS item(id,
      position))));

-- failures
-- Return what failed attempts at the message have left.
SELECT xclaim_message.failures
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::VARCHAR OR
      xclaim_message.origin_queue = %(queue_name)s::VARCHAR);

-- spent
-- Return what earlier attempts of the same claim key have used up: dead, or about to be.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.claim_key = %(key)s::VARCHAR AND (xclaim_message.queue =
      %(dead_letter_queue)s::VARCHAR AND xclaim_message.status = 'available' OR xclaim_message.queue =
      %(queue_name)s::VARCHAR AND xclaim_message.status = 'claimed' AND xclaim_message.claimed_by !=
      %(claimant)s::VARCHAR AND coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0))
    ORDER BY xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- find
-- Return the messages that were pushed to the queue under these unique keys.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = %(queue_name)s::VARCHAR AND xclaim_message.unique_key = ANY
      (array((SELECT item.unique_key
    FROM unnest(CAST((SELECT %(unique_keys)s::VARCHAR AS anon_1) AS TEXT[])) WITH ORDINALITY AS
      item(unique_key, position))));

-- counts
-- Count the messages of the queue, and of its dead-letter queue, by state.
SELECT count(*) FILTER (WHERE NOT (xclaim_message.queue = %(dead_letter_queue)s::VARCHAR AND
      xclaim_message.queue != %(queue_name)s::VARCHAR) AND xclaim_message.status = 'available' AND
      xclaim_message.available_at <= statement_timestamp()) AS available, count(*) FILTER (WHERE NOT
      (xclaim_message.queue = %(dead_letter_queue)s::VARCHAR AND xclaim_message.queue !=
      %(queue_name)s::VARCHAR) AND xclaim_message.status = 'available' AND xclaim_message.available_at >
      statement_timestamp()) AS delayed, count(*) FILTER (WHERE xclaim_message.status = 'claimed') AS claimed,
      count(*) FILTER (WHERE xclaim_message.status = 'consumed') AS consumed, count(*) FILTER (WHERE
      xclaim_message.queue = %(dead_letter_queue)s::VARCHAR AND xclaim_message.queue !=
      %(queue_name)s::VARCHAR AND xclaim_message.status = 'available') AS dead_letters
    FROM xclaim_message
    WHERE xclaim_message.queue IN (%(queue_name)s::VARCHAR, %(dead_letter_queue)s::VARCHAR);

-- failing_messages
-- Return the messages of the queue that failed and are tried again, the next try first.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec
    FROM xclaim_message
    WHERE xclaim_message.queue = %(queue_name)s::VARCHAR AND xclaim_message.status = 'available' AND
      xclaim_message.available_at >= '-infinity' AND xclaim_message.attempts > 0
    ORDER BY xclaim_message.available_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- failing_queues
-- Count by queue and class of the last error what is tried again. It reads the claim index.
SELECT xclaim_message.queue, xclaim_message.last_error_class, count(*) AS messages,
      min(xclaim_message.available_at) AS available_at, max(xclaim_message.attempts) AS attempts
    FROM xclaim_message
    WHERE xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity' AND
      xclaim_message.attempts > 0 AND xclaim_message.queue NOT LIKE '%%.dead' GROUP BY xclaim_message.queue,
      xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- is_known
-- Return whether the queue, or its dead-letter queue, has a message, whatever its status.
SELECT (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (%(queue_name)s::VARCHAR, %(dead_letter_queue)s::VARCHAR) AND
      xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity')) OR (EXISTS (SELECT
      xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (%(queue_name)s::VARCHAR, %(dead_letter_queue)s::VARCHAR) AND
      xclaim_message.claim_expires_at IS NOT NULL)) OR (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (%(queue_name)s::VARCHAR, %(dead_letter_queue)s::VARCHAR) AND
      xclaim_message.consumed_at IS NOT NULL)) AS is_known;

-- receipt
-- Return the message with the token of the claim that is on it now, NULL if there is none.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec, xclaim_message.claim_token
    FROM xclaim_message
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND (xclaim_message.queue = %(queue_name)s::VARCHAR OR
      xclaim_message.origin_queue = %(queue_name)s::VARCHAR);

-- stuck_claims
-- Count by queue the claims whose lease ran out a while ago, and those held for very long.
SELECT xclaim_message.queue, count(*) FILTER (WHERE xclaim_message.claim_expires_at <= statement_timestamp() +
      (-CAST(%(lapsed_seconds)s AS FLOAT)) * interval '1 second') AS lapsed, count(*) FILTER (WHERE
      xclaim_message.claimed_at <= statement_timestamp() + (-CAST(%(held_seconds)s AS FLOAT)) * interval '1
      second') AS held_long
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL GROUP BY xclaim_message.queue
    ORDER BY xclaim_message.queue;

-- dead_letters
-- Count the dead letters by queue and class of error. It reads the claim index to its end.
SELECT xclaim_message.queue, xclaim_message.last_error_class, count(*) AS letters
    FROM xclaim_message
    WHERE xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity' AND
      xclaim_message.queue LIKE '%%.dead' GROUP BY xclaim_message.queue, xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- stored_objects
-- Return which of the objects are those of a message.
SELECT xclaim_message.payload ->> 'uri' AS uri
    FROM xclaim_message
    WHERE xclaim_message.codec IS NOT NULL AND (xclaim_message.payload ->> 'uri') = ANY (array((SELECT
      item.uri
    FROM unnest(CAST((SELECT %(uris)s::VARCHAR AS anon_1) AS TEXT[])) WITH ORDINALITY AS item(uri,
      position))));

-- encrypted
-- Return messages whose payload is encrypted with another key, in the order of their ids.
SELECT xclaim_message.id, xclaim_message.status, xclaim_message.origin_queue, xclaim_message.codec,
      xclaim_message.payload
    FROM xclaim_message
    WHERE xclaim_message.id > %(message_id)s::BIGINT AND xclaim_message.codec LIKE '%%fernet' AND
      (xclaim_message.payload ->> 'key') != %(key_id)s::VARCHAR
    ORDER BY xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- re_encrypt
-- Replace an encrypted payload, unless it has changed, or somebody has claimed it to read it.
UPDATE xclaim_message
    SET payload=CAST(%(payload_after)s::VARCHAR AS JSONB)
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.payload =
      CAST(%(payload_before)s::VARCHAR AS JSONB) AND xclaim_message.status != 'claimed'
    RETURNING xclaim_message.id;

-- redrive, those with an error, of an age and with these ids
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = %(dead_letter_queue)s::VARCHAR AND letter.status = 'available' AND
      letter.available_at >= '-infinity' AND (letter.last_error_class = %(error)s::VARCHAR OR
      substr(letter.last_error_class, length(letter.last_error_class) - length(%(error)s::VARCHAR)) = ('.' ||
      %(error)s::VARCHAR) OR replace(letter.last_error, %(error)s::VARCHAR, '') != letter.last_error) AND
      letter.available_at <= statement_timestamp() + (-CAST(%(age_seconds)s AS FLOAT)) * interval '1 second'
      AND letter.id = ANY (array((SELECT item.id
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[])) WITH ORDINALITY AS item(id,
      position))))
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET available_at=statement_timestamp(), attempts=0, claim_key=NULL, queue=%(queue_name)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT dead.id
    FROM dead))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id;

-- holders
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.claimed_by, xclaim_message.attempts,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.claim_key,
      xclaim_message.last_error_class, xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- holders, of a queue
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, xclaim_message.queue, xclaim_message.claimed_by, xclaim_message.attempts,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.claim_key,
      xclaim_message.last_error_class, xclaim_message.claim_expires_at <= statement_timestamp() AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL AND xclaim_message.queue IN (%(queue_name)s::VARCHAR,
      %(dead_letter_queue)s::VARCHAR)
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT %(message_limit)s::INTEGER;

-- push, not all of it plain JSON
-- Insert the payloads in their order, and return what the producer does not know.
WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
      max_attempts, created_at, available_at, codec) SELECT %(queue_name)s::VARCHAR AS queue,
      %(queue_name)s::VARCHAR AS origin_queue, %(message_priority)s::SMALLINT AS priority, CAST(item.payload
      AS JSONB) AS payload, CAST(%(message_headers)s::VARCHAR AS JSONB) AS headers, CAST(NULL AS TEXT) AS
      unique_key, %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at,
      statement_timestamp() + %(delay_seconds)s * interval '1 second' AS available_at, CAST(item.codec AS
      TEXT) AS codec
    FROM unnest(CAST((SELECT %(payloads)s::VARCHAR AS anon_1) AS TEXT[]), CAST((SELECT %(codecs)s::VARCHAR AS
      anon_2) AS TEXT[])) WITH ORDINALITY AS item(payload, codec, position)
    ORDER BY item.position
    RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at) SELECT
      array_agg(pushed.id
    ORDER BY pushed.id) AS ids, min(pushed.created_at) AS created_at, min(pushed.available_at) AS available_at
    FROM pushed;

-- push_once, not all of it plain JSON
-- Insert the payloads whose unique key is new and return those that are already there.
WITH incoming AS MATERIALIZED (SELECT CAST(item.payload AS JSONB) AS payload, item.unique_key AS unique_key,
      item.codec AS codec, item.position AS position
    FROM unnest(CAST((SELECT %(payloads)s::VARCHAR AS anon_1) AS TEXT[]), CAST((SELECT
      %(unique_keys)s::VARCHAR AS anon_2) AS TEXT[]), CAST((SELECT %(codecs)s::VARCHAR AS anon_3) AS TEXT[]))
      WITH ORDINALITY AS item(payload, unique_key, codec, position)), existing AS MATERIALIZED (SELECT
      taken.id AS id, taken.queue AS queue, taken.origin_queue AS origin_queue, taken.status AS status,
      taken.priority AS priority, taken.payload AS payload, taken.headers AS headers, taken.unique_key AS
      unique_key, taken.attempts AS attempts, taken.max_attempts AS max_attempts, taken.created_at AS
      created_at, taken.available_at AS available_at, taken.claimed_at AS claimed_at, taken.claim_expires_at
      AS claim_expires_at, taken.consumed_at AS consumed_at, taken.claimed_by AS claimed_by, taken.consumed_by
      AS consumed_by, taken.claim_key AS claim_key, taken.last_error AS last_error, taken.last_error_class AS
      last_error_class, taken.codec AS codec, taken.payload = incoming.payload AND taken.codec IS NOT DISTINCT
    FROM incoming.codec AS is_same
    FROM incoming JOIN xclaim_message AS taken ON taken.origin_queue = %(queue_name)s::VARCHAR AND
      taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO xclaim_message (queue, origin_queue,
      priority, payload, headers, unique_key, max_attempts, created_at, available_at, codec) SELECT
      %(queue_name)s::VARCHAR AS queue, %(queue_name)s::VARCHAR AS origin_queue,
      %(message_priority)s::SMALLINT AS priority, incoming.payload AS payload,
      CAST(%(message_headers)s::VARCHAR AS JSONB) AS headers, CAST(incoming.unique_key AS TEXT) AS unique_key,
      %(attempts_limit)s::INTEGER AS max_attempts, statement_timestamp() AS created_at, statement_timestamp()
      + %(delay_seconds)s * interval '1 second' AS available_at, CAST(incoming.codec AS TEXT) AS codec
    FROM incoming
    WHERE NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
    FROM existing
    WHERE existing.unique_key = incoming.unique_key))
    ORDER BY incoming.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO UPDATE
    SET max_attempts = CASE WHEN (xclaim_message.payload = excluded.payload AND xclaim_message.codec IS NOT
      DISTINCT
    FROM excluded.codec) THEN xclaim_message.max_attempts ELSE -1 END
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec) SELECT existing.id, existing.queue, existing.origin_queue, existing.status,
      existing.priority, existing.payload, existing.headers, existing.unique_key, existing.attempts,
      existing.max_attempts, existing.created_at, existing.available_at, existing.claimed_at,
      existing.claim_expires_at, existing.consumed_at, existing.claimed_by, existing.consumed_by,
      existing.claim_key, existing.last_error, existing.last_error_class, existing.codec, existing.is_same,
      false AS is_new
    FROM existing
    UNION ALL SELECT pushed.id, pushed.queue, pushed.origin_queue, pushed.status, pushed.priority,
      pushed.payload, pushed.headers, pushed.unique_key, pushed.attempts, pushed.max_attempts,
      pushed.created_at, pushed.available_at, pushed.claimed_at, pushed.claim_expires_at, pushed.consumed_at,
      pushed.claimed_by, pushed.consumed_by, pushed.claim_key, pushed.last_error, pushed.last_error_class,
      pushed.codec, true AS is_same, pushed.created_at = statement_timestamp() AS is_new
    FROM pushed;

-- prune, with a payload storage
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT "old".id AS id
    FROM xclaim_message AS "old"
    WHERE "old".queue = %(queue_name)s::VARCHAR AND "old".consumed_at <= statement_timestamp() +
      (-CAST(%(age_seconds)s AS FLOAT)) * interval '1 second'
    ORDER BY "old".consumed_at
    LIMIT %(message_limit)s::INTEGER FOR UPDATE SKIP LOCKED) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id = ANY (array((SELECT pruned.id
    FROM pruned))) AND xclaim_message.status = 'consumed'
    RETURNING xclaim_message.id, CASE WHEN (xclaim_message.codec IS NOT NULL) THEN xclaim_message.payload ->>
      'uri' END AS uri;

-- claim with a claim key
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE resumable AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = %(key)s::VARCHAR AND held.queue = %(queue_name)s::VARCHAR AND held.status =
      'claimed' AND held.claimed_by != %(claimant)s::VARCHAR AND NOT coalesce(held.attempts >= CASE WHEN
      %(is_limited)s THEN %(most_attempts)s::INTEGER ELSE held.max_attempts END, 1 = 0)
    ORDER BY held.id
    LIMIT 1 FOR UPDATE SKIP LOCKED), level(priority) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::VARCHAR AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AS priority
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = %(queue_name)s::VARCHAR AND lower.status = 'available' AND lower.available_at >=
      '-infinity' AND lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1) AS anon_1
    FROM level
    WHERE level.priority IS NOT NULL), candidate AS MATERIALIZED (SELECT picked.id AS id
    FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      level.priority AND waiting.available_at <= statement_timestamp() AND NOT (EXISTS (SELECT resumable.id
    FROM resumable))
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR UPDATE SKIP LOCKED) AS picked
    LIMIT 1) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT taken.id
    FROM (SELECT resumable.id AS id
    FROM resumable
    UNION ALL SELECT candidate.id AS id
    FROM candidate) AS taken))) AND xclaim_message.status != 'consumed'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- claim on top
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = %(queue_name)s::VARCHAR AND top.status = 'available' AND top.available_at >= '-infinity'
    ORDER BY top.priority DESC
    LIMIT 1) AND waiting.available_at <= statement_timestamp()
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- claim behind a position
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT)
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available'
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- claim behind a position, a batch
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT)
    ORDER BY waiting.available_at, waiting.id
    LIMIT 100 FOR UPDATE SKIP LOCKED) UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_1
    FROM candidate) = 100
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec;

-- ack_and_claim behind a position
-- Consume what was claimed and claim the next, unless some of it was lost.
WITH acked AS (UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id), candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT)
    ORDER BY waiting.available_at, waiting.id
    LIMIT 1 FOR UPDATE SKIP LOCKED), claimed AS (UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_1
    FROM acked) = %(ack_count)s::INTEGER
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec) SELECT claimed.id,
      claimed.origin_queue, claimed.priority, claimed.payload, claimed.headers, claimed.unique_key,
      claimed.attempts, claimed.max_attempts, claimed.created_at, claimed.available_at, claimed.claimed_at,
      claimed.claim_expires_at, claimed.last_error, claimed.last_error_class, claimed.claim_token,
      claimed.codec, done.acked_ids
    FROM (SELECT CASE WHEN ((SELECT count(*) AS count_1
    FROM acked) != %(ack_count)s::INTEGER) THEN array((SELECT acked.id
    FROM acked)) END AS acked_ids) AS done LEFT OUTER JOIN claimed ON true;

-- ack_and_claim behind a position, a batch
-- Consume what was claimed and claim the next, unless some of it was lost.
WITH acked AS (UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL, status='consumed',
      claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    FROM unnest(CAST((SELECT %(ids)s::VARCHAR AS anon_1) AS BIGINT[]), CAST((SELECT %(tokens)s::VARCHAR AS
      anon_2) AS UUID[])) WITH ORDINALITY AS item(id, token, position)
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING xclaim_message.id), candidate AS MATERIALIZED (SELECT waiting.id AS id
    FROM xclaim_message AS waiting
    WHERE waiting.queue = %(queue_name)s::VARCHAR AND waiting.status = 'available' AND waiting.priority =
      %(after_priority)s::SMALLINT AND waiting.available_at <= statement_timestamp() AND
      (waiting.available_at, waiting.id) > (%(after_available_at)s::TIMESTAMP WITH TIME ZONE,
      %(after_id)s::BIGINT)
    ORDER BY waiting.available_at, waiting.id
    LIMIT 100 FOR UPDATE SKIP LOCKED), claimed AS (UPDATE xclaim_message
    SET attempts=(xclaim_message.attempts + 1), claimed_at=statement_timestamp(),
      claim_expires_at=(statement_timestamp() + %(lease_seconds)s * interval '1 second'),
      claim_token=CAST((SELECT substr(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 1, 16) AS substr_1)
      || lpad(to_hex(xclaim_message.id), 16, '0') AS UUID), status='claimed',
      claimed_by=%(claimant)s::VARCHAR, claim_key=%(key)s::VARCHAR
    WHERE xclaim_message.id = ANY (array((SELECT candidate.id
    FROM candidate))) AND xclaim_message.status = 'available' AND (SELECT count(*) AS count_2
    FROM candidate) = 100 AND (SELECT count(*) AS count_1
    FROM acked) = %(ack_count)s::INTEGER
    RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority, xclaim_message.payload,
      nullif(xclaim_message.headers, '{}') AS headers, xclaim_message.unique_key, xclaim_message.attempts,
      xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
      xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
      xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec) SELECT claimed.id,
      claimed.origin_queue, claimed.priority, claimed.payload, claimed.headers, claimed.unique_key,
      claimed.attempts, claimed.max_attempts, claimed.created_at, claimed.available_at, claimed.claimed_at,
      claimed.claim_expires_at, claimed.last_error, claimed.last_error_class, claimed.claim_token,
      claimed.codec, done.acked_ids
    FROM (SELECT CASE WHEN ((SELECT count(*) AS count_1
    FROM acked) != %(ack_count)s::INTEGER) THEN array((SELECT acked.id
    FROM acked)) END AS acked_ids) AS done LEFT OUTER JOIN claimed ON true;

-- release
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue !=
      %(dead_letter_queue)s::VARCHAR) THEN statement_timestamp() ELSE xclaim_message.available_at END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      %(dead_letter_queue)s::VARCHAR ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec;

-- release, after an error
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue !=
      %(dead_letter_queue)s::VARCHAR) THEN statement_timestamp() ELSE greatest(statement_timestamp(),
      statement_timestamp() + CAST(CAST(%(pauses)s::VARCHAR AS JSONB) ->>
      greatest(least(xclaim_message.attempts, %(pause_count)s::INTEGER) - 1, 0) AS DOUBLE PRECISION) * (1.0 -
      %(jitter)s * (((xclaim_message.id + %(drawn)s::INTEGER) %% 97) / CAST(97.0 AS DOUBLE PRECISION))) *
      interval '1 second') END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key
      ELSE NULL END, last_error=%(error)s::VARCHAR, last_error_class=%(error_class)s::VARCHAR, failures=(CASE
      WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array', false) THEN CAST('[]' AS JSONB) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt', xclaim_message.attempts,
      'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
      xclaim_message.claimed_by, 'error_class', %(error_class)s::VARCHAR, 'error', substr(%(error)s::VARCHAR,
      1, 1000)))), queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      %(dead_letter_queue)s::VARCHAR ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec;

-- release, after an error, with a delay
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue !=
      %(dead_letter_queue)s::VARCHAR) THEN statement_timestamp() ELSE statement_timestamp() +
      %(delay_seconds)s * interval '1 second' END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL,
      status='available', claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
      %(is_limited)s THEN %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      xclaim_message.claim_key ELSE NULL END, last_error=%(error)s::VARCHAR,
      last_error_class=%(error_class)s::VARCHAR, failures=(CASE WHEN NOT
      coalesce(jsonb_typeof(xclaim_message.failures) = 'array', false) THEN CAST('[]' AS JSONB) WHEN
      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt', xclaim_message.attempts,
      'at', to_char(timezone('UTC', statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
      xclaim_message.claimed_by, 'error_class', %(error_class)s::VARCHAR, 'error', substr(%(error)s::VARCHAR,
      1, 1000)))), queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN %(is_limited)s THEN
      %(most_attempts)s::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
      %(dead_letter_queue)s::VARCHAR ELSE xclaim_message.queue END
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec;

-- release, not counted
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=xclaim_message.available_at, attempts=(xclaim_message.attempts - 1), claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=NULL
    WHERE xclaim_message.id = %(message_id)s::BIGINT AND xclaim_message.claim_token = %(token)s::UUID
    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue, xclaim_message.status,
      xclaim_message.priority, xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
      xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
      xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
      xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
      xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
      xclaim_message.codec;
