-- What xclaim sends to sqlite; written by `python -m tests.sql_docs`.

-- push
-- Insert the payloads in their order, and return what the producer does not know.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at) SELECT :queue_name AS queue, :queue_name AS origin_queue, :message_priority AS
      priority, item.payload AS payload, :message_headers AS headers, CAST(NULL AS TEXT) AS unique_key,
      :attempts_limit AS max_attempts, strftime('%Y-%m-%d %H:%M:%f', 'now') AS created_at, strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') AS available_at
    FROM (SELECT anon_1.value AS payload, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    ORDER BY item.position
    RETURNING id, created_at, available_at;

-- push_one
-- Insert one payload, and return what the producer does not know.
INSERT INTO xclaim_message (created_at, available_at, max_attempts, priority, queue, origin_queue, unique_key,
      headers, payload) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now',
      CAST(:delay_seconds AS TEXT) || ' seconds'), :attempts_limit, :message_priority, :queue_name,
      :queue_name, CAST(NULL AS TEXT), :message_headers, :payload_text)
    RETURNING id, created_at, available_at;

-- push_once
-- Insert the payloads whose unique key is new and return those that are already there.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at) SELECT :queue_name AS queue, :queue_name AS origin_queue, :message_priority AS
      priority, item.payload AS payload, :message_headers AS headers, CAST(item.unique_key AS TEXT) AS
      unique_key, :attempts_limit AS max_attempts, strftime('%Y-%m-%d %H:%M:%f', 'now') AS created_at,
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') AS available_at
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS payload, json_extract(anon_1.value, '$[1]') AS
      unique_key, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    WHERE 1 = 1
    ORDER BY item.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO UPDATE
    SET created_at = CASE WHEN (xclaim_message.payload = excluded.payload AND xclaim_message.codec IS
      excluded.codec) THEN xclaim_message.created_at END
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key, 1 AS is_same, id > coalesce((SELECT sqlite_sequence.seq
    FROM sqlite_sequence
    WHERE name = 'xclaim_message'), 0) AS is_new;

-- clashing_keys
-- Return the unique keys that are taken by another payload.
SELECT xclaim_message.unique_key
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS payload, json_extract(anon_1.value, '$[1]') AS
      unique_key, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item JOIN xclaim_message ON xclaim_message.origin_queue = :queue_name
      AND xclaim_message.unique_key = item.unique_key AND (xclaim_message.payload != item.payload OR
      xclaim_message.codec IS NOT NULL);

-- backlog
-- Return the limit of the queue, and how many messages wait in it: at most one more than that.
SELECT (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name) AS max_backlog, (SELECT CAST(xclaim_queue.on_full AS BLOB) AS
      on_full
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name) AS on_full, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL
    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
      xclaim_message.id
    LIMIT coalesce(:asked_backlog, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name), -1) + 1 OFFSET :param_1) AS anon_1) + 0 AS waiting;

-- set_backlog
-- Set how many messages may wait in the queue, or with NULL that any number may.
INSERT INTO xclaim_queue (queue, max_backlog, on_full) VALUES (:queue_name, :max_backlog, :on_full)
    ON CONFLICT (queue) DO UPDATE
    SET max_backlog = excluded.max_backlog, on_full = excluded.on_full
    RETURNING CAST(max_backlog AS INTEGER) AS max_backlog, CAST(on_full AS BLOB) AS on_full;

-- limited_backlogs
-- Return the queues with a limit of what may wait, by name, and what a push does at that.
SELECT CAST(xclaim_queue.queue AS BLOB) AS queue, CAST(xclaim_queue.max_backlog AS INTEGER) AS max_backlog,
      CAST(xclaim_queue.on_full AS BLOB) AS on_full
    FROM xclaim_queue
    WHERE xclaim_queue.max_backlog IS NOT NULL
    ORDER BY xclaim_queue.queue;

-- claim
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND top.status = 'available' AND top.available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1 OFFSET :param_1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND (xclaim_queue.paused_at IS NOT NULL OR xclaim_queue.concurrency
      IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND lower.status = 'available' AND lower.available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1 OFFSET :param_2) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT waiting.id AS
      id
    FROM level CROSS JOIN xclaim_message AS waiting
    WHERE waiting.queue = :queue_name AND waiting.status = 'available' AND waiting.priority = level.priority
      AND waiting.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN 0 ELSE 1 END = 1 AND waiting.available_at IS NOT NULL
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = :queue_name AND other.status = 'available' AND other.priority < (SELECT level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND
      other.available_at IS NOT NULL AND CASE WHEN (other.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 OFFSET :param_3) AS behind
    LIMIT 1 OFFSET :param_4) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT candidate.id
    FROM candidate) AND xclaim_message.status = 'available'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- claim_one
-- Claim this very message, or take it back from an earlier attempt of the same claim key.
WITH taken AS MATERIALIZED (SELECT wanted.id AS id
    FROM xclaim_message AS wanted
    WHERE wanted.id = :message_id AND wanted.queue = :queue_name AND (wanted.status = 'available' AND
      wanted.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND (xclaim_queue.paused_at IS NOT NULL OR xclaim_queue.concurrency
      IS NOT NULL OR xclaim_queue.rate IS NOT NULL))) OR wanted.status = 'claimed' AND wanted.claim_key = :key
      AND wanted.claimed_by != :claimant AND coalesce(wanted.attempts >= CASE WHEN :is_limited THEN
      :most_attempts ELSE wanted.max_attempts END, 1 = 0) = 0) AND CASE WHEN (wanted.consumed_at IS NOT NULL)
      THEN 0 ELSE 1 END = 1) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT taken.id
    FROM taken) AND xclaim_message.status != 'consumed'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- limit
-- Set the limits of the queue; what is None has none.
INSERT INTO xclaim_queue (queue, concurrency, rate, rate_seconds, burst) VALUES (:queue_name, :concurrency,
      :rate, :rate_seconds, :burst)
    ON CONFLICT (queue) DO UPDATE
    SET concurrency = excluded.concurrency, rate = excluded.rate, rate_seconds = excluded.rate_seconds, burst
      = excluded.burst
    RETURNING CAST(concurrency AS INTEGER) AS concurrency, CAST(rate AS INTEGER) AS rate, rate_seconds,
      CAST(burst AS INTEGER) AS burst;

-- limits
-- Return the limits of the queue; nothing if it has none.
SELECT CAST(xclaim_queue.concurrency AS INTEGER) AS concurrency, CAST(xclaim_queue.rate AS INTEGER) AS rate,
      xclaim_queue.rate_seconds, CAST(xclaim_queue.burst AS INTEGER) AS burst
    FROM xclaim_queue
    WHERE (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL) AND xclaim_queue.queue =
      :queue_name;

-- add_slots
-- Make the slots of a kind that are not there yet, so many in all; no row of an older one.
INSERT INTO xclaim_slot (queue, kind, slot) SELECT :queue_name AS anon_1, :kind AS anon_2, item.slot
    FROM (SELECT json_extract(anon_3.value, '$[0]') AS slot, anon_3."key" AS position
    FROM json_each(:rows) AS anon_3) AS item
    WHERE true
    ON CONFLICT (queue, kind, slot) DO NOTHING
    RETURNING slot;

-- vacancy
-- Return how many more claims may begin now, as far as can be seen without a lock.
SELECT CAST(xclaim_queue.paused_at AS BLOB) AS paused_at, CAST(xclaim_queue.paused_by AS BLOB) AS paused_by,
      CAST(xclaim_queue.reason AS BLOB) AS reason, CAST(xclaim_queue.concurrency AS INTEGER) AS concurrency,
      CAST(xclaim_queue.rate AS INTEGER) AS rate, xclaim_queue.rate_seconds, CAST(xclaim_queue.burst AS
      INTEGER) AS burst, xclaim_queue.concurrency - (SELECT count(*) AS count_1
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = :queue_name AND claimed_one.claim_expires_at IS NOT NULL AND
      claimed_one.claim_expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now') AND claimed_one.status = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT xclaim_queue.concurrency
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name), 0) OFFSET :param_1) AS claimed_ones) AS at_once, CASE WHEN
      (xclaim_queue.rate IS NOT NULL) THEN (SELECT count(*) AS count_2
    FROM xclaim_slot
    WHERE xclaim_slot.queue = :queue_name AND xclaim_slot.kind = 'rate' AND xclaim_slot.slot <
      xclaim_queue.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(-((CAST(xclaim_queue.burst AS DOUBLE) * xclaim_queue.rate_seconds /
      xclaim_queue.rate) + 0.0005) AS TEXT) || ' seconds'))) END AS begun, ((CAST(xclaim_queue.burst AS
      DOUBLE) * xclaim_queue.rate_seconds / xclaim_queue.rate) + 0.0005) - (SELECT (julianday('now') -
      julianday(min(xclaim_slot.taken_at))) * 86400.0 AS anon_1
    FROM xclaim_slot
    WHERE xclaim_slot.queue = :queue_name AND xclaim_slot.kind = 'rate' AND xclaim_slot.slot <
      xclaim_queue.burst) AS due_in
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND (xclaim_queue.paused_at IS NOT NULL OR xclaim_queue.concurrency
      IS NOT NULL OR xclaim_queue.rate IS NOT NULL);

-- take_back
-- Take back what an earlier attempt of the same claim key holds, and claim nothing anew.
WITH resumable AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = :key AND held.queue = :queue_name AND held.status = 'claimed' AND held.claimed_by
      != :claimant AND coalesce(held.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      held.max_attempts END, 1 = 0) = 0 AND CASE WHEN (held.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY held.id
    LIMIT 1 OFFSET :param_1) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT resumable.id
    FROM resumable) AND xclaim_message.status = 'claimed'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- resume
-- Take over what a ticket hands on, or take back what an earlier attempt took over with it.
WITH taken AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key IN (:handed_on_key, :key) AND held.queue = :queue_name AND held.status = 'claimed'
      AND (held.claim_key = :handed_on_key AND held.claimed_by = :handed_on_by OR held.claim_key = :key AND
      held.claimed_by != :claimant AND coalesce(held.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE held.max_attempts END, 1 = 0) = 0) AND CASE WHEN (held.consumed_at IS NOT NULL) THEN 0 ELSE 1 END =
      1
    ORDER BY held.id) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + CASE WHEN
      (xclaim_message.claim_key = :key) THEN 1 ELSE 0 END ELSE 2147483647 END, claimed_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) ||
      ' seconds'), claim_token=lower(hex(randomblob(16))), status='claimed', claimed_by=:claimant,
      claim_key=:key
    WHERE xclaim_message.id IN (SELECT taken.id
    FROM taken) AND xclaim_message.status = 'claimed'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- ack
-- Consume the claimed message. By the primary key, so that no partial index is walked.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_token=NULL,
      status='consumed', claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id;

-- ack_many
-- Consume each claimed message that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_token=NULL,
      status='consumed', claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
    FROM (SELECT CAST(anon_1."key" AS INTEGER) AS id, anon_1.value AS token
    FROM json_each(:rows) AS anon_1) AS item
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING id;

-- ack_reduced
-- Consume each claimed message that is still held, and leave less of its payload.
UPDATE xclaim_message
    SET claim_expires_at=NULL, consumed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_token=NULL,
      status='consumed', claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL,
      codec=CAST(item.codec AS TEXT), payload=item.payload
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS id, json_extract(anon_1.value, '$[1]') AS token,
      json_extract(anon_1.value, '$[2]') AS payload, json_extract(anon_1.value, '$[3]') AS codec, anon_1."key"
      AS position
    FROM json_each(:rows) AS anon_1) AS item
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING id;

-- note_failure
-- Keep the error of an attempt and the claim, whose lease ends so long from now.
UPDATE xclaim_message
    SET claim_expires_at=strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'),
      last_error=:error, last_error_class=:error_class, failures=json_insert(CASE WHEN (json_type(CASE WHEN
      (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0
      END = 1 AND length(xclaim_message.failures) < 524288) THEN xclaim_message.failures ELSE 'null' END) !=
      'array') THEN '[]' WHEN (json_array_length(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) =
      'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1 AND length(xclaim_message.failures) <
      524288) THEN xclaim_message.failures ELSE 'null' END) >= 20) THEN json_remove(xclaim_message.failures,
      '$[0]') ELSE xclaim_message.failures END, '$[#]', json_object('attempt', CAST(xclaim_message.attempts AS
      INTEGER), 'at', CAST(strftime('%Y-%m-%d %H:%M:%f', 'now') AS TEXT), 'claimed_by',
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 'error_class', :error_class, 'error',
      substr(:error, 1, 1000)))
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key;

-- hand_back
-- Make claimed messages available again, at their places, and take the attempts back.
UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=NULL
    FROM (SELECT CAST(anon_1."key" AS INTEGER) AS id, anon_1.value AS token
    FROM json_each(:rows) AS anon_1) AS item
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING id;

-- extend
-- Set the end of the lease, counted from now.
UPDATE xclaim_message
    SET claim_expires_at=strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds')
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING claim_expires_at;

-- extend_many
-- Set the end of the lease of each claim that is still held, and return their ids.
UPDATE xclaim_message
    SET claim_expires_at=strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds')
    FROM (SELECT CAST(anon_1."key" AS INTEGER) AS id, anon_1.value AS token
    FROM json_each(:rows) AS anon_1) AS item
    WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
    RETURNING id;

-- any_lapsed
-- Return a row if the queue may have lapsed claims: what is read first by a new process.
SELECT 1 AS may_have_lapsed
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.claim_expires_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now')
    ORDER BY xclaim_message.claim_expires_at
    LIMIT 1 OFFSET :param_1;

-- expire
-- Give back lapsed claims, after a pause that began with the claim, or as dead letters.
WITH RECURSIVE places(place) AS (SELECT 1 AS place
    UNION ALL SELECT places.place + 1 AS anon_1
    FROM places
    WHERE places.place < 1000), lapsed AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = :queue_name AND held.status = 'claimed' AND CASE WHEN (held.consumed_at IS NOT NULL)
      THEN 0 ELSE 1 END = 1 AND held.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY held.claim_expires_at
    LIMIT :message_limit OFFSET :param_1) UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN
      strftime('%Y-%m-%d %H:%M:%f', 'now') WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
      max(strftime('%Y-%m-%d %H:%M:%f', 'now'), coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d
      %H:%M:%f', 'now'), xclaim_message.claimed_at), CAST(json_extract(:pauses, '$[' ||
      CAST(CAST(max(min(xclaim_message.attempts, :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 -
      :jitter * ((xclaim_message.id % 97 + :drawn) % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'),
      strftime('%Y-%m-%d %H:%M:%f', 'now'))) END, due_at=CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN NULL
      WHEN (xclaim_message.available_at IS NULL) THEN max(strftime('%Y-%m-%d %H:%M:%f', 'now'),
      coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d %H:%M:%f', 'now'),
      xclaim_message.claimed_at), CAST(json_extract(:pauses, '$[' ||
      CAST(CAST(max(min(xclaim_message.attempts, :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 -
      :jitter * ((xclaim_message.id % 97 + :drawn) % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'),
      strftime('%Y-%m-%d %H:%M:%f', 'now'))) ELSE xclaim_message.due_at END, claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END, last_error=CASE
      WHEN coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN CASE WHEN (CAST(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1)
      THEN json_extract(xclaim_message.failures, '$[#-1].error') END AS TEXT) GLOB '*' || char(65533) || '*')
      THEN (SELECT group_concat(char(unicode(substr(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures)
      = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error') END AS TEXT), places.place, 1))), '') AS
      group_concat_1
    FROM places
    WHERE places.place <= length(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error') END AS TEXT))) ELSE CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text')
      THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error') END AS TEXT) END ELSE 'lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT) END, last_error_class=CASE WHEN
      coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN CASE WHEN (CAST(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1)
      THEN json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT) GLOB '*' || char(65533) ||
      '*') THEN (SELECT group_concat(char(unicode(substr(CAST(CASE WHEN (CASE WHEN
      (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT), places.place, 1))), '') AS
      group_concat_2
    FROM places
    WHERE places.place <= length(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error_class') END AS TEXT))) ELSE CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) =
      'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT) END ELSE 'LeaseExpired' END,
      failures=CASE WHEN coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN xclaim_message.failures ELSE
      json_insert(CASE WHEN (json_type(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1 AND length(xclaim_message.failures) < 524288) THEN
      xclaim_message.failures ELSE 'null' END) != 'array') THEN '[]' WHEN (json_array_length(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1
      AND length(xclaim_message.failures) < 524288) THEN xclaim_message.failures ELSE 'null' END) >= 20) THEN
      json_remove(xclaim_message.failures, '$[0]') ELSE xclaim_message.failures END, '$[#]',
      json_object('attempt', CAST(xclaim_message.attempts AS INTEGER), 'at', CAST(strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS TEXT), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT),
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1, 1000))) END, queue=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN :dead_letter_queue ELSE xclaim_message.queue END
    WHERE xclaim_message.id IN (SELECT lapsed.id
    FROM lapsed) AND xclaim_message.status = 'claimed'
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(attempts AS INTEGER) AS attempts, CAST(available_at AS
      BLOB) AS available_at;

-- expire_others
-- Give back lapsed claims but for those of a claim key, which takes them back itself.
WITH RECURSIVE places(place) AS (SELECT 1 AS place
    UNION ALL SELECT places.place + 1 AS anon_1
    FROM places
    WHERE places.place < 1000), lapsed AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.queue = :queue_name AND held.status = 'claimed' AND CASE WHEN (held.consumed_at IS NOT NULL)
      THEN 0 ELSE 1 END = 1 AND held.claim_key IS NOT :key AND held.claim_expires_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now')
    ORDER BY held.claim_expires_at
    LIMIT :message_limit OFFSET :param_1) UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN
      strftime('%Y-%m-%d %H:%M:%f', 'now') WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
      max(strftime('%Y-%m-%d %H:%M:%f', 'now'), coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d
      %H:%M:%f', 'now'), xclaim_message.claimed_at), CAST(json_extract(:pauses, '$[' ||
      CAST(CAST(max(min(xclaim_message.attempts, :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 -
      :jitter * ((xclaim_message.id % 97 + :drawn) % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'),
      strftime('%Y-%m-%d %H:%M:%f', 'now'))) END, due_at=CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN NULL
      WHEN (xclaim_message.available_at IS NULL) THEN max(strftime('%Y-%m-%d %H:%M:%f', 'now'),
      coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d %H:%M:%f', 'now'),
      xclaim_message.claimed_at), CAST(json_extract(:pauses, '$[' ||
      CAST(CAST(max(min(xclaim_message.attempts, :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 -
      :jitter * ((xclaim_message.id % 97 + :drawn) % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'),
      strftime('%Y-%m-%d %H:%M:%f', 'now'))) ELSE xclaim_message.due_at END, claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END, last_error=CASE
      WHEN coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN CASE WHEN (CAST(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1)
      THEN json_extract(xclaim_message.failures, '$[#-1].error') END AS TEXT) GLOB '*' || char(65533) || '*')
      THEN (SELECT group_concat(char(unicode(substr(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures)
      = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error') END AS TEXT), places.place, 1))), '') AS
      group_concat_1
    FROM places
    WHERE places.place <= length(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error') END AS TEXT))) ELSE CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text')
      THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error') END AS TEXT) END ELSE 'lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT) END, last_error_class=CASE WHEN
      coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN CASE WHEN (CAST(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1)
      THEN json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT) GLOB '*' || char(65533) ||
      '*') THEN (SELECT group_concat(char(unicode(substr(CAST(CASE WHEN (CASE WHEN
      (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT), places.place, 1))), '') AS
      group_concat_2
    FROM places
    WHERE places.place <= length(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].error_class') END AS TEXT))) ELSE CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) =
      'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.failures, '$[#-1].error_class') END AS TEXT) END ELSE 'LeaseExpired' END,
      failures=CASE WHEN coalesce(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1) THEN json_extract(xclaim_message.failures,
      '$[#-1].attempt') END AS TEXT) = CAST(CAST(xclaim_message.attempts AS INTEGER) AS TEXT) AND CAST(CASE
      WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE
      0 END = 1) THEN json_extract(xclaim_message.failures, '$[#-1].claimed_by') END AS TEXT) =
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1 = 0) THEN xclaim_message.failures ELSE
      json_insert(CASE WHEN (json_type(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1 AND length(xclaim_message.failures) < 524288) THEN
      xclaim_message.failures ELSE 'null' END) != 'array') THEN '[]' WHEN (json_array_length(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1
      AND length(xclaim_message.failures) < 524288) THEN xclaim_message.failures ELSE 'null' END) >= 20) THEN
      json_remove(xclaim_message.failures, '$[0]') ELSE xclaim_message.failures END, '$[#]',
      json_object('attempt', CAST(xclaim_message.attempts AS INTEGER), 'at', CAST(strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS TEXT), 'claimed_by', CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT),
      'error_class', 'LeaseExpired', 'error', substr('lease expired, claimed by ' ||
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 1, 1000))) END, queue=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN :dead_letter_queue ELSE xclaim_message.queue END
    WHERE xclaim_message.id IN (SELECT lapsed.id
    FROM lapsed) AND xclaim_message.status = 'claimed'
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(attempts AS INTEGER) AS attempts, CAST(available_at AS
      BLOB) AS available_at;

-- redrive
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = :dead_letter_queue AND letter.status = 'available' AND letter.available_at IS NOT
      NULL AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT :message_limit OFFSET :param_1) UPDATE xclaim_message
    SET available_at=CASE WHEN (xclaim_message.ordering_key IS NOT NULL AND xclaim_message.origin_queue =
      :queue_name) THEN NULL ELSE strftime('%Y-%m-%d %H:%M:%f', 'now') END, attempts=0, claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=NULL,
      queue=:queue_name
    WHERE xclaim_message.id IN (SELECT dead.id
    FROM dead) AND xclaim_message.status = 'available'
    RETURNING id;

-- prune
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT old.id AS id
    FROM xclaim_message AS old
    WHERE old.queue = :queue_name AND old.status = 'consumed' AND old.consumed_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(-CAST(:age_seconds AS FLOAT) AS TEXT) || ' seconds')
    ORDER BY old.consumed_at
    LIMIT :message_limit OFFSET :param_1) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT pruned.id
    FROM pruned) AND xclaim_message.status = 'consumed'
    RETURNING id;

-- redrivable
-- Count the dead letters that ``redrive`` would move.
SELECT count(*) AS messages
    FROM (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = :dead_letter_queue AND letter.status = 'available' AND letter.available_at IS NOT
      NULL AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT :message_limit OFFSET :param_1) AS chosen;

-- prunable
-- Count the messages that ``prune`` would delete.
SELECT count(*) AS messages
    FROM (SELECT old.id AS id
    FROM xclaim_message AS old
    WHERE old.queue = :queue_name AND old.status = 'consumed' AND old.consumed_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(-CAST(:age_seconds AS FLOAT) AS TEXT) || ' seconds')
    ORDER BY old.consumed_at
    LIMIT :message_limit OFFSET :param_1) AS chosen;

-- withdraw
-- Delete the messages under these unique keys that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = :queue_name AND xclaim_message.unique_key IN (SELECT item.unique_key
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS unique_key, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item) AND xclaim_message.status = 'available'
    RETURNING id;

-- withdraw_by_id
-- Delete the messages with these ids that nobody has claimed, also dead letters.
DELETE
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT item.id
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS id, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item) AND (xclaim_message.origin_queue = :queue_name OR
      xclaim_message.queue = :queue_name) AND xclaim_message.status = 'available'
    RETURNING id;

-- peek
-- Return the messages that would be claimed next, without claiming them.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND top.status = 'available' AND top.available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1 OFFSET :param_1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND lower.status = 'available' AND lower.available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1 OFFSET :param_2) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), upcoming AS MATERIALIZED (SELECT waiting.id AS id
    FROM level CROSS JOIN xclaim_message AS waiting
    WHERE waiting.queue = :queue_name AND waiting.status = 'available' AND waiting.priority = level.priority
      AND waiting.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN 0 ELSE 1 END = 1 AND waiting.available_at IS NOT NULL
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = :queue_name AND other.status = 'available' AND other.priority < (SELECT level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND
      other.available_at IS NOT NULL AND CASE WHEN (other.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT :message_limit OFFSET :param_3) AS behind
    LIMIT :message_limit OFFSET :param_4) SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS
      queue, CAST(xclaim_message.origin_queue AS BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS
      status, CAST(xclaim_message.priority AS INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS
      payload, CAST(xclaim_message.headers AS BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS
      unique_key, CAST(xclaim_message.attempts AS INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS
      INTEGER) AS max_attempts, CAST(xclaim_message.created_at AS BLOB) AS created_at,
      CAST(xclaim_message.available_at AS BLOB) AS available_at, CAST(xclaim_message.claimed_at AS BLOB) AS
      claimed_at, CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at,
      CAST(xclaim_message.consumed_at AS BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS
      claimed_by, CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS
      BLOB) AS claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error,
      CAST(xclaim_message.last_error_class AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS
      codec, CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT upcoming.id
    FROM upcoming)
    ORDER BY xclaim_message.priority DESC, xclaim_message.available_at, xclaim_message.id;

-- clock
-- Return the time of the database, under the name of a column that is read as a time.
SELECT strftime('%Y-%m-%d %H:%M:%f', 'now') AS available_at;

-- newest
-- Return when the newest of the messages that can be claimed now became available.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND top.status = 'available' AND top.available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1 OFFSET :param_2) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND xclaim_queue.paused_at IS NOT NULL))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND lower.status = 'available' AND lower.available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1 OFFSET :param_3) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL) SELECT CAST(max(newest.available_at) AS BLOB) AS available_at
    FROM (SELECT (SELECT waiting.available_at
    FROM xclaim_message AS waiting
    WHERE waiting.queue = :queue_name AND waiting.status = 'available' AND waiting.priority = level.priority
      AND waiting.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND waiting.available_at IS NOT NULL
    ORDER BY waiting.available_at DESC
    LIMIT 1 OFFSET :param_1) AS available_at
    FROM level) AS newest;

-- get
-- Return the message if it is in the queue or was pushed to it.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id AND (xclaim_message.queue = :queue_name OR
      xclaim_message.origin_queue = :queue_name);

-- get_many
-- Return the messages with these ids, whatever their queue.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT item.id
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS id, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item);

-- failures
-- Return what failed attempts at the message have left.
SELECT CAST(xclaim_message.failures AS BLOB) AS failures
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id AND (xclaim_message.queue = :queue_name OR
      xclaim_message.origin_queue = :queue_name);

-- spent
-- Return what earlier attempts of the same claim key have used up: dead, or about to be.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.claim_key = :key AND (xclaim_message.queue = :dead_letter_queue AND
      xclaim_message.status = 'available' OR xclaim_message.queue = :queue_name AND xclaim_message.status =
      'claimed' AND xclaim_message.claimed_by != :claimant AND coalesce(xclaim_message.attempts >= CASE WHEN
      :is_limited THEN :most_attempts ELSE xclaim_message.max_attempts END, 1 = 0) = 1)
    ORDER BY xclaim_message.id DESC
    LIMIT :message_limit OFFSET :param_1;

-- find
-- Return the messages that were pushed to the queue under these unique keys.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = :queue_name AND xclaim_message.unique_key IN (SELECT item.unique_key
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS unique_key, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item);

-- counts
-- Count the messages of the queue, and of its dead-letter queue, by state.
SELECT count(*) FILTER (WHERE NOT (xclaim_message.queue = :dead_letter_queue AND xclaim_message.queue !=
      :queue_name) AND xclaim_message.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')) AS available,
      count(*) FILTER (WHERE NOT (xclaim_message.queue = :dead_letter_queue AND xclaim_message.queue !=
      :queue_name) AND xclaim_message.available_at > strftime('%Y-%m-%d %H:%M:%f', 'now')) AS delayed, (SELECT
      count(*) AS count_1
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.status = 'claimed' AND
      xclaim_message.claim_expires_at IS NOT NULL) AS claimed, (SELECT count(*) AS count_2
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.consumed_at IS NOT
      NULL) AS consumed, count(*) FILTER (WHERE xclaim_message.queue = :dead_letter_queue AND
      xclaim_message.queue != :queue_name) AS dead_letters, CASE WHEN (EXISTS (SELECT *
    FROM sqlite_master
    WHERE sqlite_master.name = :index_name)) THEN (SELECT count(*) AS count_3
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.status = 'available'
      AND xclaim_message.available_at IS NULL AND xclaim_message.ordering_key IS NOT NULL) ELSE 0 END AS
      in_line
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.status = 'available'
      AND xclaim_message.available_at IS NOT NULL;

-- failing_messages
-- Return the messages of the queue that failed and are tried again, the next try first.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.attempts > 0
    ORDER BY xclaim_message.available_at, xclaim_message.id
    LIMIT :message_limit OFFSET :param_1;

-- failing_queues
-- Count by queue and class of the last error what is tried again. It reads the claim index.
SELECT CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.last_error_class AS BLOB) AS
      last_error_class, count(*) AS messages, CAST(min(xclaim_message.available_at) AS BLOB) AS available_at,
      CAST(max(xclaim_message.attempts) AS INTEGER) AS attempts
    FROM xclaim_message
    WHERE xclaim_message.attempts > 0 AND xclaim_message.status = 'available' AND xclaim_message.available_at
      IS NOT NULL AND xclaim_message.queue NOT LIKE '%.dead' GROUP BY xclaim_message.queue,
      xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- is_known
-- Return whether the queue, or its dead-letter queue, has a message, whatever its status.
SELECT (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.status = 'available'
      AND xclaim_message.available_at IS NOT NULL)) OR (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.claim_expires_at IS NOT
      NULL)) OR (EXISTS (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.queue IN (:queue_name, :dead_letter_queue) AND xclaim_message.consumed_at IS NOT
      NULL)) AS is_known;

-- receipt
-- Return the message with the token of the claim that is on it now, NULL if there is none.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.priority AS
      INTEGER) AS priority, CAST(xclaim_message.payload AS BLOB) AS payload, CAST(xclaim_message.headers AS
      BLOB) AS headers, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS max_attempts,
      CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS BLOB) AS
      available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(xclaim_message.claimed_by AS BLOB) AS claimed_by,
      CAST(xclaim_message.consumed_by AS BLOB) AS consumed_by, CAST(xclaim_message.claim_key AS BLOB) AS
      claim_key, CAST(xclaim_message.last_error AS BLOB) AS last_error, CAST(xclaim_message.last_error_class
      AS BLOB) AS last_error_class, CAST(xclaim_message.codec AS BLOB) AS codec,
      CAST(xclaim_message.ordering_key AS BLOB) AS ordering_key, CAST(xclaim_message.claim_token AS BLOB) AS
      claim_token
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id AND (xclaim_message.queue = :queue_name OR
      xclaim_message.origin_queue = :queue_name);

-- queue_stats
-- Return the lines of the view for people, by name of queue; ages in seconds.
SELECT CAST(xclaim_queue_stats.queue AS BLOB) AS queue, xclaim_queue_stats.available,
      xclaim_queue_stats.delayed, xclaim_queue_stats.claimed, xclaim_queue_stats.consumed,
      xclaim_queue_stats.dead_letters, xclaim_queue_stats.in_line, xclaim_queue_stats.oldest_available_age AS
      oldest_available_age, xclaim_queue_stats.oldest_claim_age AS oldest_claim_age,
      xclaim_queue_stats.retrying, CAST(xclaim_queue_stats.head_attempts AS INTEGER) AS head_attempts,
      CAST(xclaim_queue_stats.next_try_at AS BLOB) AS next_try_at
    FROM xclaim_queue_stats
    ORDER BY xclaim_queue_stats.queue;

-- stuck_claims
-- Count by queue the claims whose lease ran out a while ago, and those held for very long.
SELECT CAST(xclaim_message.queue AS BLOB) AS queue, count(*) FILTER (WHERE xclaim_message.claim_expires_at <=
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(-CAST(:lapsed_seconds AS FLOAT) AS TEXT) || ' seconds')) AS
      lapsed, count(*) FILTER (WHERE xclaim_message.claimed_at <= strftime('%Y-%m-%d %H:%M:%f', 'now',
      CAST(-CAST(:held_seconds AS FLOAT) AS TEXT) || ' seconds')) AS held_long
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL GROUP BY xclaim_message.queue
    ORDER BY xclaim_message.queue;

-- dead_letters
-- Count the dead letters by queue and class of error. It reads the claim index to its end.
SELECT CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.last_error_class AS BLOB) AS
      last_error_class, count(*) AS letters
    FROM xclaim_message
    WHERE xclaim_message.status = 'available' AND xclaim_message.available_at IS NOT NULL AND
      xclaim_message.queue LIKE '%.dead' GROUP BY xclaim_message.queue, xclaim_message.last_error_class
    ORDER BY xclaim_message.queue, count(*) DESC;

-- stored_objects
-- Return which of the objects a message names, and the queue it was pushed to.
SELECT CAST(CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.payload) = 'text') THEN
      json_valid(xclaim_message.payload) ELSE 0 END = 1) THEN json_extract(xclaim_message.payload, '$.uri')
      END AS TEXT) AS BLOB) AS uri, CAST(xclaim_message.origin_queue AS BLOB) AS origin_queue
    FROM xclaim_message
    WHERE xclaim_message.codec IS NOT NULL AND CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.payload) =
      'text') THEN json_valid(xclaim_message.payload) ELSE 0 END = 1) THEN
      json_extract(xclaim_message.payload, '$.uri') END AS TEXT) IN (SELECT item.uri
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS uri, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item);

-- encrypted
-- Return messages whose payload is encrypted with another key, in the order of their ids.
SELECT xclaim_message.id, CAST(xclaim_message.status AS BLOB) AS status, CAST(xclaim_message.origin_queue AS
      BLOB) AS origin_queue, CAST(xclaim_message.unique_key AS BLOB) AS unique_key, CAST(xclaim_message.codec
      AS BLOB) AS codec, CAST(xclaim_message.payload AS BLOB) AS payload
    FROM xclaim_message
    WHERE xclaim_message.id >= :message_id AND xclaim_message.codec LIKE '%fernet' AND CAST(CASE WHEN (CASE
      WHEN (typeof(xclaim_message.payload) = 'text') THEN json_valid(xclaim_message.payload) ELSE 0 END = 1)
      THEN json_extract(xclaim_message.payload, '$.key') END AS TEXT) IS NOT :key_id
    ORDER BY xclaim_message.id
    LIMIT :message_limit OFFSET :param_1;

-- unencrypted
-- Count what is not consumed and not encrypted, by the queue that it was pushed to.
SELECT CAST(xclaim_message.origin_queue AS BLOB) AS origin_queue, count(*) AS messages
    FROM xclaim_message
    WHERE xclaim_message.status != 'consumed' AND (xclaim_message.codec IS NULL OR xclaim_message.codec NOT
      LIKE '%fernet') GROUP BY xclaim_message.origin_queue
    ORDER BY xclaim_message.origin_queue;

-- re_encrypt
-- Replace an encrypted payload, unless it has changed, or somebody has claimed it to read it.
UPDATE xclaim_message
    SET payload=:payload_after
    WHERE xclaim_message.id = :message_id AND xclaim_message.payload = :payload_before AND
      xclaim_message.status != 'claimed'
    RETURNING id;

-- redrive, those with an error, of an age and with these ids
-- Move dead letters to a queue, the next one first, available now and with no attempts used.
WITH dead AS MATERIALIZED (SELECT letter.id AS id
    FROM xclaim_message AS letter
    WHERE letter.queue = :dead_letter_queue AND letter.status = 'available' AND letter.available_at IS NOT
      NULL AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1 AND (letter.last_error_class =
      :error OR substr(letter.last_error_class, length(letter.last_error_class) - length(:error)) = ('.' ||
      :error) OR replace(letter.last_error, :error, '') != letter.last_error) AND letter.available_at <=
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(-CAST(:age_seconds AS FLOAT) AS TEXT) || ' seconds') AND
      letter.id IN (SELECT item.id
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS id, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item)
    ORDER BY letter.priority DESC, letter.available_at, letter.id
    LIMIT :message_limit OFFSET :param_1) UPDATE xclaim_message
    SET available_at=CASE WHEN (xclaim_message.ordering_key IS NOT NULL AND xclaim_message.origin_queue =
      :queue_name) THEN NULL ELSE strftime('%Y-%m-%d %H:%M:%f', 'now') END, attempts=0, claimed_at=NULL,
      claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=NULL,
      queue=:queue_name
    WHERE xclaim_message.id IN (SELECT dead.id
    FROM dead) AND xclaim_message.status = 'available'
    RETURNING id;

-- holders
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.claimed_by AS BLOB)
      AS claimed_by, CAST(xclaim_message.attempts AS INTEGER) AS attempts, CAST(xclaim_message.claimed_at AS
      BLOB) AS claimed_at, CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at,
      CAST(xclaim_message.claim_key AS BLOB) AS claim_key, CAST(xclaim_message.last_error_class AS BLOB) AS
      last_error_class, xclaim_message.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT :message_limit OFFSET :param_1;

-- holders, of a queue
-- Return who holds what, the longest held first: neither payloads nor tokens.
SELECT xclaim_message.id, CAST(xclaim_message.queue AS BLOB) AS queue, CAST(xclaim_message.claimed_by AS BLOB)
      AS claimed_by, CAST(xclaim_message.attempts AS INTEGER) AS attempts, CAST(xclaim_message.claimed_at AS
      BLOB) AS claimed_at, CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at,
      CAST(xclaim_message.claim_key AS BLOB) AS claim_key, CAST(xclaim_message.last_error_class AS BLOB) AS
      last_error_class, xclaim_message.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL AND xclaim_message.queue IN (:queue_name,
      :dead_letter_queue)
    ORDER BY xclaim_message.claimed_at, xclaim_message.id
    LIMIT :message_limit OFFSET :param_1;

-- push, not all of it plain JSON
-- Insert the payloads in their order, and return what the producer does not know.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at, codec) SELECT :queue_name AS queue, :queue_name AS origin_queue,
      :message_priority AS priority, item.payload AS payload, :message_headers AS headers, CAST(NULL AS TEXT)
      AS unique_key, :attempts_limit AS max_attempts, strftime('%Y-%m-%d %H:%M:%f', 'now') AS created_at,
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') AS available_at,
      CAST(item.codec AS TEXT) AS codec
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS payload, json_extract(anon_1.value, '$[1]') AS codec,
      anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    ORDER BY item.position
    RETURNING id, created_at, available_at;

-- push_one, not plain JSON
-- Insert one payload, and return what the producer does not know.
INSERT INTO xclaim_message (created_at, available_at, max_attempts, priority, queue, origin_queue, unique_key,
      codec, headers, payload) VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f',
      'now', CAST(:delay_seconds AS TEXT) || ' seconds'), :attempts_limit, :message_priority, :queue_name,
      :queue_name, CAST(NULL AS TEXT), CAST(:payload_codec AS TEXT), :message_headers, :payload_text)
    RETURNING id, created_at, available_at;

-- push_once, not all of it plain JSON
-- Insert the payloads whose unique key is new and return those that are already there.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at, codec) SELECT :queue_name AS queue, :queue_name AS origin_queue,
      :message_priority AS priority, item.payload AS payload, :message_headers AS headers,
      CAST(item.unique_key AS TEXT) AS unique_key, :attempts_limit AS max_attempts, strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS created_at, strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || '
      seconds') AS available_at, CAST(item.codec AS TEXT) AS codec
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS payload, json_extract(anon_1.value, '$[1]') AS
      unique_key, json_extract(anon_1.value, '$[2]') AS codec, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    WHERE 1 = 1
    ORDER BY item.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO UPDATE
    SET created_at = CASE WHEN (xclaim_message.payload = excluded.payload AND xclaim_message.codec IS
      excluded.codec) THEN xclaim_message.created_at END
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key, 1 AS is_same, id > coalesce((SELECT sqlite_sequence.seq
    FROM sqlite_sequence
    WHERE name = 'xclaim_message'), 0) AS is_new;

-- prune, with a payload storage
-- Delete some messages that were consumed so long ago, the oldest first.
WITH pruned AS MATERIALIZED (SELECT old.id AS id
    FROM xclaim_message AS old
    WHERE old.queue = :queue_name AND old.status = 'consumed' AND old.consumed_at <= strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(-CAST(:age_seconds AS FLOAT) AS TEXT) || ' seconds')
    ORDER BY old.consumed_at
    LIMIT :message_limit OFFSET :param_1) DELETE
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT pruned.id
    FROM pruned) AND xclaim_message.status = 'consumed'
    RETURNING id, CAST(CASE WHEN (codec IS NOT NULL) THEN CAST(CASE WHEN (CASE WHEN (typeof(payload) = 'text')
      THEN json_valid(payload) ELSE 0 END = 1) THEN json_extract(payload, '$.uri') END AS TEXT) END AS BLOB)
      AS uri, CAST(origin_queue AS BLOB) AS origin_queue;

-- push, where no limit is set
-- Insert the payloads in their order, and return what the producer does not know.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at) SELECT :queue_name AS queue, :queue_name AS origin_queue, :message_priority AS
      priority, item.payload AS payload, :message_headers AS headers, CAST(NULL AS TEXT) AS unique_key,
      :attempts_limit AS max_attempts, strftime('%Y-%m-%d %H:%M:%f', 'now') AS created_at, strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') AS available_at
    FROM (SELECT anon_1.value AS payload, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND xclaim_queue.max_backlog IS NOT NULL))
    ORDER BY item.position
    RETURNING id, created_at, available_at;

-- push_once, where no limit is set
-- Insert the payloads whose unique key is new and return those that are already there.
INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, unique_key, max_attempts,
      created_at, available_at) SELECT :queue_name AS queue, :queue_name AS origin_queue, :message_priority AS
      priority, item.payload AS payload, :message_headers AS headers, CAST(item.unique_key AS TEXT) AS
      unique_key, :attempts_limit AS max_attempts, strftime('%Y-%m-%d %H:%M:%f', 'now') AS created_at,
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') AS available_at
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS payload, json_extract(anon_1.value, '$[1]') AS
      unique_key, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND xclaim_queue.max_backlog IS NOT NULL)) OR (EXISTS (SELECT
      taken.id
    FROM xclaim_message AS taken
    WHERE taken.origin_queue = :queue_name AND taken.unique_key = item.unique_key))
    ORDER BY item.position
    ON CONFLICT (origin_queue, unique_key)
    WHERE unique_key IS NOT NULL DO UPDATE
    SET created_at = CASE WHEN (xclaim_message.payload = excluded.payload AND xclaim_message.codec IS
      excluded.codec) THEN xclaim_message.created_at END
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key, 1 AS is_same, id > coalesce((SELECT sqlite_sequence.seq
    FROM sqlite_sequence
    WHERE name = 'xclaim_message'), 0) AS is_new;

-- backlog, with what stands in line
-- Return the limit of the queue, and how many messages wait in it: at most one more than that.
SELECT (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name) AS max_backlog, (SELECT CAST(xclaim_queue.on_full AS BLOB) AS
      on_full
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name) AS on_full, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL
    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
      xclaim_message.id
    LIMIT coalesce(:asked_backlog, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name), -1) + 1 OFFSET :param_1) AS anon_1) + (SELECT count(*) AS count_2
    FROM (SELECT xclaim_message.id AS id
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.ordering_key IS NOT NULL AND
      xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL
    ORDER BY xclaim_message.queue, xclaim_message.ordering_key, xclaim_message.id
    LIMIT coalesce(:asked_backlog, (SELECT xclaim_queue.max_backlog
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name), -1) + 1 OFFSET :param_2) AS anon_2) AS waiting;

-- claim_this_one
-- Claim this very message, whatever limits its queue has (SQLite).
UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT wanted.id
    FROM xclaim_message AS wanted
    WHERE wanted.id = :message_id AND wanted.queue = :queue_name AND wanted.status = 'available' AND
      wanted.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND CASE WHEN (wanted.consumed_at IS NOT
      NULL) THEN 0 ELSE 1 END = 1 AND NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND xclaim_queue.paused_at IS NOT NULL)))
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- room
-- Return how many more messages may be claimed at once; NULL: any number (SQLite).
SELECT xclaim_queue.concurrency - (SELECT count(*) AS count_1
    FROM (SELECT 1 AS one
    FROM xclaim_message AS claimed_one
    WHERE claimed_one.queue = :queue_name AND claimed_one.claim_expires_at IS NOT NULL AND claimed_one.status
      = 'claimed'
    ORDER BY claimed_one.claim_expires_at
    LIMIT coalesce((SELECT xclaim_queue.concurrency
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name), 0) OFFSET :param_1) AS claimed_ones) AS room, xclaim_queue.rate
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND xclaim_queue.paused_at IS NULL AND (xclaim_queue.concurrency IS
      NOT NULL OR xclaim_queue.rate IS NOT NULL);

-- due_slots
-- Return the slots of the rate that may be taken now (SQLite).
SELECT xclaim_slot.slot
    FROM xclaim_queue CROSS JOIN xclaim_slot
    WHERE xclaim_queue.queue = :queue_name AND xclaim_slot.queue = :queue_name AND xclaim_slot.kind = 'rate'
      AND xclaim_slot.slot < xclaim_queue.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at <=
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(-((CAST(xclaim_queue.burst AS DOUBLE) *
      xclaim_queue.rate_seconds / xclaim_queue.rate) + 0.0005) AS TEXT) || ' seconds'))
    ORDER BY xclaim_slot.slot;

-- take_slots
-- Note that claims begin now by these slots of the rate (SQLite).
UPDATE xclaim_slot
    SET taken_at=strftime('%Y-%m-%d %H:%M:%f', 'now')
    WHERE xclaim_slot.queue = :queue_name AND xclaim_slot.kind = 'rate' AND xclaim_slot.slot IN (SELECT
      item.slot
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS slot, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item)
    RETURNING slot;

-- claim with a claim key
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE resumable AS MATERIALIZED (SELECT held.id AS id
    FROM xclaim_message AS held
    WHERE held.claim_key = :key AND held.queue = :queue_name AND held.status = 'claimed' AND held.claimed_by
      != :claimant AND coalesce(held.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      held.max_attempts END, 1 = 0) = 0 AND CASE WHEN (held.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY held.id
    LIMIT 1 OFFSET :param_1), level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND top.status = 'available' AND top.available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1 OFFSET :param_2) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND (xclaim_queue.paused_at IS NOT NULL OR xclaim_queue.concurrency
      IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND lower.status = 'available' AND lower.available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1 OFFSET :param_3) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT waiting.id AS
      id
    FROM level CROSS JOIN xclaim_message AS waiting
    WHERE waiting.queue = :queue_name AND waiting.status = 'available' AND waiting.priority = level.priority
      AND waiting.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN 0 ELSE 1 END = 1 AND NOT (EXISTS (SELECT resumable.id
    FROM resumable)) AND waiting.available_at IS NOT NULL
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = :queue_name AND other.status = 'available' AND other.priority < (SELECT level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND
      other.available_at IS NOT NULL AND CASE WHEN (other.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1 AND
      NOT (EXISTS (SELECT resumable.id
    FROM resumable))
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 1 OFFSET :param_4) AS behind
    LIMIT 1 OFFSET :param_5) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT taken.id
    FROM (SELECT resumable.id AS id
    FROM resumable
    UNION ALL SELECT candidate.id AS id
    FROM candidate) AS taken) AND xclaim_message.status != 'consumed'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- claim of whole lines, a batch
-- Claim the next messages: highest priority, then longest available, then lowest id.
WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND top.status = 'available' AND top.available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1 OFFSET :param_1) AS priority, 1 AS number
    WHERE NOT (EXISTS (SELECT xclaim_queue.queue
    FROM xclaim_queue
    WHERE xclaim_queue.queue = :queue_name AND (xclaim_queue.paused_at IS NOT NULL OR xclaim_queue.concurrency
      IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND lower.status = 'available' AND lower.available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1 OFFSET :param_2) AS anon_1, level.number + 1 AS anon_2
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT waiting.id AS
      id
    FROM level CROSS JOIN xclaim_message AS waiting
    WHERE waiting.queue = :queue_name AND waiting.status = 'available' AND waiting.priority = level.priority
      AND waiting.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND CASE WHEN (waiting.consumed_at IS
      NOT NULL) THEN 0 ELSE 1 END = 1 AND waiting.available_at IS NOT NULL
    UNION ALL SELECT behind.id AS id
    FROM (SELECT other.id AS id
    FROM xclaim_message AS other
    WHERE other.queue = :queue_name AND other.status = 'available' AND other.priority < (SELECT level.priority
    FROM level
    WHERE level.number = 32) AND other.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND
      other.available_at IS NOT NULL AND CASE WHEN (other.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1
    ORDER BY other.priority DESC, other.available_at, other.id
    LIMIT 10 OFFSET :param_3) AS behind
    LIMIT 10 OFFSET :param_4), wanted AS MATERIALIZED (SELECT "each".id AS id, "each".place AS place,
      "each".nth AS nth
    FROM (SELECT heads.id AS id, heads.place AS place, 0 AS nth
    FROM (SELECT head.id AS id, CASE WHEN (head.origin_queue = :queue_name AND head.keeps_turn IS NOT 1) THEN
      head.ordering_key END AS ordering_key, row_number() OVER (ORDER BY head.priority DESC,
      head.available_at, head.id) AS place
    FROM xclaim_message AS head
    WHERE head.id IN (SELECT candidate.id
    FROM candidate)
    ORDER BY head.priority DESC, head.available_at, head.id) AS heads
    UNION ALL SELECT follower.id AS id, heads.place AS place, row_number() OVER (PARTITION BY heads.place
    ORDER BY follower.id) AS nth
    FROM (SELECT head.id AS id, CASE WHEN (head.origin_queue = :queue_name AND head.keeps_turn IS NOT 1) THEN
      head.ordering_key END AS ordering_key, row_number() OVER (ORDER BY head.priority DESC,
      head.available_at, head.id) AS place
    FROM xclaim_message AS head
    WHERE head.id IN (SELECT candidate.id
    FROM candidate)
    ORDER BY head.priority DESC, head.available_at, head.id) AS heads CROSS JOIN xclaim_message AS follower
    WHERE heads.ordering_key IS NOT NULL AND follower.id IN (SELECT line.id
    FROM xclaim_message AS line
    WHERE line.queue = :queue_name AND line.origin_queue = :queue_name AND heads.ordering_key IS NOT NULL AND
      line.ordering_key IS NOT NULL AND line.ordering_key = heads.ordering_key AND line.status = 'available'
      AND line.available_at IS NULL
    ORDER BY line.queue, line.ordering_key, line.id
    LIMIT 9 OFFSET :param_5)) AS "each"
    ORDER BY "each".place, "each".nth
    LIMIT 10 OFFSET :param_6), taken_along AS MATERIALIZED (SELECT along.id AS id
    FROM xclaim_message AS along
    WHERE along.id IN (SELECT wanted.id
    FROM wanted
    WHERE wanted.nth > 0) AND along.status = 'available' AND along.available_at IS NULL AND (along.due_at IS
      NULL OR along.due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')) AND along.keeps_turn IS NOT 1 AND CASE
      WHEN (along.consumed_at IS NOT NULL) THEN 0 ELSE 1 END = 1), whole_lines AS MATERIALIZED (SELECT
      counted.id AS id
    FROM (SELECT wanted.id AS id, wanted.place AS place, wanted.nth AS nth, count(taken_along.id) OVER
      (PARTITION BY wanted.place
    ORDER BY wanted.nth) AS had
    FROM wanted LEFT OUTER JOIN taken_along ON taken_along.id = wanted.id) AS counted
    WHERE counted.had = counted.nth
    ORDER BY counted.place, counted.nth) UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1 ELSE
      2147483647 END, claimed_at=strftime('%Y-%m-%d %H:%M:%f', 'now'), claim_expires_at=strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:lease_seconds AS TEXT) || ' seconds'), claim_token=lower(hex(randomblob(16))),
      status='claimed', claimed_by=:claimant, claim_key=:key
    WHERE xclaim_message.id IN (SELECT whole_lines.id
    FROM whole_lines) AND xclaim_message.status = 'available'
    RETURNING id, CAST(origin_queue AS BLOB) AS origin_queue, CAST(priority AS INTEGER) AS priority,
      CAST(payload AS BLOB) AS payload, CAST(nullif(headers, '{}') AS BLOB) AS headers, CAST(unique_key AS
      BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts, CAST(max_attempts AS INTEGER) AS
      max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at AS BLOB) AS available_at,
      claimed_at, claim_expires_at, CAST(last_error AS BLOB) AS last_error, CAST(last_error_class AS BLOB) AS
      last_error_class, claim_token, CAST(codec AS BLOB) AS codec, CAST(ordering_key AS BLOB) AS ordering_key;

-- release
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN
      strftime('%Y-%m-%d %H:%M:%f', 'now') WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
      xclaim_message.available_at END, due_at=CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN NULL
      WHEN (xclaim_message.available_at IS NULL) THEN xclaim_message.available_at ELSE xclaim_message.due_at
      END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END, queue=CASE WHEN
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN :dead_letter_queue ELSE xclaim_message.queue END
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key;

-- release, after an error
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN
      strftime('%Y-%m-%d %H:%M:%f', 'now') WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
      max(strftime('%Y-%m-%d %H:%M:%f', 'now'), coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d
      %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now')), CAST(json_extract(:pauses, '$[' ||
      CAST(CAST(max(min(xclaim_message.attempts, :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 -
      :jitter * ((xclaim_message.id % 97 + :drawn) % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'),
      strftime('%Y-%m-%d %H:%M:%f', 'now'))) END, due_at=CASE WHEN (xclaim_message.available_at IS NULL AND
      coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN NULL
      WHEN (xclaim_message.available_at IS NULL) THEN max(strftime('%Y-%m-%d %H:%M:%f', 'now'),
      coalesce(strftime('%Y-%m-%d %H:%M:%f', min(strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d
      %H:%M:%f', 'now')), CAST(json_extract(:pauses, '$[' || CAST(CAST(max(min(xclaim_message.attempts,
      :pause_count) - 1, 0) AS INTEGER) AS TEXT) || ']') * (1.0 - :jitter * ((xclaim_message.id % 97 + :drawn)
      % 97 / CAST(97.0 AS DOUBLE))) AS TEXT) || ' seconds'), strftime('%Y-%m-%d %H:%M:%f', 'now'))) ELSE
      xclaim_message.due_at END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN
      :most_attempts ELSE xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END,
      last_error=:error, last_error_class=:error_class, failures=json_insert(CASE WHEN (json_type(CASE WHEN
      (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0
      END = 1 AND length(xclaim_message.failures) < 524288) THEN xclaim_message.failures ELSE 'null' END) !=
      'array') THEN '[]' WHEN (json_array_length(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) =
      'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1 AND length(xclaim_message.failures) <
      524288) THEN xclaim_message.failures ELSE 'null' END) >= 20) THEN json_remove(xclaim_message.failures,
      '$[0]') ELSE xclaim_message.failures END, '$[#]', json_object('attempt', CAST(xclaim_message.attempts AS
      INTEGER), 'at', CAST(strftime('%Y-%m-%d %H:%M:%f', 'now') AS TEXT), 'claimed_by',
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 'error_class', :error_class, 'error',
      substr(:error, 1, 1000))), queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN :is_limited
      THEN :most_attempts ELSE xclaim_message.max_attempts END, 1 = 0) THEN :dead_letter_queue ELSE
      xclaim_message.queue END
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key;

-- release, after an error, with a delay
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET available_at=CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts
      ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue != :dead_letter_queue) THEN
      strftime('%Y-%m-%d %H:%M:%f', 'now') WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
      strftime('%Y-%m-%d %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') END, due_at=CASE WHEN
      (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN
      :most_attempts ELSE xclaim_message.max_attempts END, 1 = 0) = 1 AND xclaim_message.queue !=
      :dead_letter_queue) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN strftime('%Y-%m-%d
      %H:%M:%f', 'now', CAST(:delay_seconds AS TEXT) || ' seconds') ELSE xclaim_message.due_at END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN :is_limited THEN :most_attempts ELSE
      xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END, last_error=:error,
      last_error_class=:error_class, failures=json_insert(CASE WHEN (json_type(CASE WHEN (CASE WHEN
      (typeof(xclaim_message.failures) = 'text') THEN json_valid(xclaim_message.failures) ELSE 0 END = 1 AND
      length(xclaim_message.failures) < 524288) THEN xclaim_message.failures ELSE 'null' END) != 'array') THEN
      '[]' WHEN (json_array_length(CASE WHEN (CASE WHEN (typeof(xclaim_message.failures) = 'text') THEN
      json_valid(xclaim_message.failures) ELSE 0 END = 1 AND length(xclaim_message.failures) < 524288) THEN
      xclaim_message.failures ELSE 'null' END) >= 20) THEN json_remove(xclaim_message.failures, '$[0]') ELSE
      xclaim_message.failures END, '$[#]', json_object('attempt', CAST(xclaim_message.attempts AS INTEGER),
      'at', CAST(strftime('%Y-%m-%d %H:%M:%f', 'now') AS TEXT), 'claimed_by',
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS TEXT), 'error_class', :error_class, 'error',
      substr(:error, 1, 1000))), queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN :is_limited
      THEN :most_attempts ELSE xclaim_message.max_attempts END, 1 = 0) THEN :dead_letter_queue ELSE
      xclaim_message.queue END
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key;

-- release, not counted
-- Make the claimed message available again, or a dead letter if its attempts are used up.
UPDATE xclaim_message
    SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END,
      claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL,
      claim_key=NULL
    WHERE xclaim_message.id = :message_id AND xclaim_message.claim_token = :token
    RETURNING id, CAST(queue AS BLOB) AS queue, CAST(origin_queue AS BLOB) AS origin_queue, CAST(status AS
      BLOB) AS status, CAST(priority AS INTEGER) AS priority, CAST(payload AS BLOB) AS payload, CAST(headers
      AS BLOB) AS headers, CAST(unique_key AS BLOB) AS unique_key, CAST(attempts AS INTEGER) AS attempts,
      CAST(max_attempts AS INTEGER) AS max_attempts, CAST(created_at AS BLOB) AS created_at, CAST(available_at
      AS BLOB) AS available_at, CAST(claimed_at AS BLOB) AS claimed_at, CAST(claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(consumed_at AS BLOB) AS consumed_at, CAST(claimed_by AS BLOB) AS claimed_by,
      CAST(consumed_by AS BLOB) AS consumed_by, CAST(claim_key AS BLOB) AS claim_key, CAST(last_error AS BLOB)
      AS last_error, CAST(last_error_class AS BLOB) AS last_error_class, CAST(codec AS BLOB) AS codec,
      CAST(ordering_key AS BLOB) AS ordering_key;

-- waiting_queues
-- Return the queues that have an available message, by one index descent each.
WITH RECURSIVE walk AS ( SELECT (SELECT queue
    FROM xclaim_message
    WHERE status = 'available' AND available_at IS NOT NULL
    ORDER BY queue
    LIMIT 1) AS queue, 1 AS number
    UNION ALL SELECT (SELECT behind.queue
    FROM xclaim_message AS behind
    WHERE status = 'available' AND available_at IS NOT NULL AND behind.queue > walk.queue
    ORDER BY behind.queue
    LIMIT 1), walk.number + 1
    FROM walk
    WHERE walk.queue IS NOT NULL AND walk.number < :most) SELECT CAST(queue AS BLOB) AS queue
    FROM walk
    WHERE queue IS NOT NULL;

-- held_queues
-- Return the queues that have a claimed message, by one index descent each.
WITH RECURSIVE walk AS ( SELECT (SELECT queue
    FROM xclaim_message
    WHERE claim_expires_at IS NOT NULL
    ORDER BY queue
    LIMIT 1) AS queue, 1 AS number
    UNION ALL SELECT (SELECT behind.queue
    FROM xclaim_message AS behind
    WHERE claim_expires_at IS NOT NULL AND behind.queue > walk.queue
    ORDER BY behind.queue
    LIMIT 1), walk.number + 1
    FROM walk
    WHERE walk.queue IS NOT NULL AND walk.number < :most) SELECT CAST(queue AS BLOB) AS queue
    FROM walk
    WHERE queue IS NOT NULL;

-- last_claim
-- Return of a queue whether the lease that ends last lasts yet (SQLite).
SELECT claim_expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_live
    FROM xclaim_message
    WHERE queue = :queue_name AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at DESC
    LIMIT 1;

-- consumed_queues
-- Return the queues that have a consumed message, and when the last one was consumed.
WITH RECURSIVE walk AS ( SELECT (SELECT queue
    FROM xclaim_message
    WHERE consumed_at IS NOT NULL
    ORDER BY queue
    LIMIT 1) AS queue, 1 AS number
    UNION ALL SELECT (SELECT behind.queue
    FROM xclaim_message AS behind
    WHERE consumed_at IS NOT NULL AND behind.queue > walk.queue
    ORDER BY behind.queue
    LIMIT 1), walk.number + 1
    FROM walk
    WHERE walk.queue IS NOT NULL AND walk.number < :most) SELECT CAST(queue AS BLOB) AS queue, (SELECT
      max(message.consumed_at)
    FROM xclaim_message AS message
    WHERE message.queue = walk.queue AND consumed_at IS NOT NULL) AS consumed_at
    FROM walk
    WHERE queue IS NOT NULL;

-- paused_queues
-- Return the queues that have a setting: how they are paused, and what limits they have.
SELECT CAST(queue AS BLOB) AS queue, paused_at AS paused_at, CAST(paused_by AS BLOB) AS paused_by, CAST(reason
      AS BLOB) AS reason, max_backlog, on_full, concurrency, rate, rate_seconds, burst
    FROM xclaim_queue
    LIMIT :most;

-- levels
-- Return the first ``levels`` priorities of a queue, the highest first (SQLite).
WITH RECURSIVE level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :queue_name AND status = 'available' AND available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND lower.priority <
      level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < :levels) SELECT priority
    FROM level
    WHERE priority IS NOT NULL
    ORDER BY number;

-- of_level
-- Return what waits in a queue with one priority (SQLite).
SELECT due.messages AS due, due.available_at, later.messages AS delayed, tried.messages AS retrying,
      tried.looked_at
    FROM (SELECT count(*) AS messages, min(available_at) AS available_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND priority = :level AND
      available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY available_at
    LIMIT :bound) AS entry) AS due CROSS JOIN (SELECT count(*) AS messages
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND priority = :level AND
      available_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY available_at
    LIMIT :bound) AS entry) AS later CROSS JOIN (SELECT count(*) AS looked_at, count(CASE WHEN attempts > 0
      THEN 1 END) AS messages
    FROM (SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND priority = :level AND
      available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY available_at
    LIMIT :sample) AS near
    UNION ALL SELECT *
    FROM (SELECT attempts
    FROM xclaim_message
    WHERE queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND priority = :level AND
      available_at > strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY available_at
    LIMIT :sample) AS far) AS entry) AS tried;

-- of_rest
-- Return what waits in a queue behind a priority (SQLite).
SELECT count(CASE WHEN entry.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 END) AS due, min(CASE
      WHEN entry.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') THEN entry.available_at END) AS
      available_at, count(CASE WHEN entry.available_at > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 END) AS
      delayed, 0 AS retrying, 0 AS looked_at
    FROM (SELECT available_at
    FROM xclaim_message
    WHERE queue = :queue_name AND status = 'available' AND available_at IS NOT NULL AND priority < :level
    ORDER BY priority DESC, available_at
    LIMIT :bound) AS entry;

-- claims_and_letters
-- Return what is held of a queue, and what died (SQLite).
SELECT claims.claimed, claims.lapsed, claims.live, claims.own_lapsed, claims.claim_expires_at,
      claims.claimed_at, letters.dead, letters.available_at, strftime('%Y-%m-%d %H:%M:%f', 'now') AS now
    FROM ( SELECT held.messages AS claimed, held.lapsed, held.live, held.own_lapsed, held.claim_expires_at,
      first.claimed_at
    FROM (SELECT count(*) AS messages, count(CASE WHEN entry.is_lapsed THEN 1 END) AS lapsed, count(CASE WHEN
      entry.is_own = 1 AND NOT entry.is_lapsed THEN 1 END) AS live, count(CASE WHEN entry.is_own = 1 AND
      entry.is_lapsed THEN 1 END) AS own_lapsed, min(CASE WHEN entry.is_own = 1 THEN entry.claim_expires_at
      END) AS claim_expires_at
    FROM (SELECT *
    FROM (SELECT claim_expires_at, claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_lapsed, 1 AS
      is_own
    FROM xclaim_message
    WHERE queue = :queue_name AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT :others) AS own
    UNION ALL SELECT *
    FROM (SELECT claim_expires_at, claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_lapsed, 0 AS
      is_own
    FROM xclaim_message
    WHERE queue = :dead_letter_queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT :others) AS of_dead) AS entry) AS held CROSS JOIN (SELECT min(claimed_at) AS claimed_at
    FROM (SELECT *
    FROM (SELECT claimed_at
    FROM xclaim_message
    WHERE queue = :queue_name AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT :sample) AS own
    UNION ALL SELECT *
    FROM (SELECT claimed_at
    FROM xclaim_message
    WHERE queue = :dead_letter_queue AND claim_expires_at IS NOT NULL
    ORDER BY claim_expires_at
    LIMIT :sample) AS of_dead) AS entry) AS first ) AS claims CROSS JOIN ( SELECT (SELECT count(*)
    FROM (SELECT priority
    FROM xclaim_message
    WHERE queue = :dead_letter_queue AND status = 'available' AND available_at IS NOT NULL
    ORDER BY priority DESC
    LIMIT :others) AS entry) AS dead, ( SELECT max(newest.available_at) AS available_at
    FROM ( WITH RECURSIVE level AS ( SELECT (SELECT top.priority
    FROM xclaim_message AS top
    WHERE top.queue = :dead_letter_queue AND status = 'available' AND available_at IS NOT NULL
    ORDER BY top.priority DESC
    LIMIT 1) AS priority, 1 AS number
    UNION ALL SELECT (SELECT lower.priority
    FROM xclaim_message AS lower
    WHERE lower.queue = :dead_letter_queue AND status = 'available' AND available_at IS NOT NULL AND
      lower.priority < level.priority
    ORDER BY lower.priority DESC
    LIMIT 1), level.number + 1
    FROM level
    WHERE level.priority IS NOT NULL AND level.number < :levels) SELECT (SELECT died.available_at
    FROM xclaim_message AS died
    WHERE died.queue = :dead_letter_queue AND status = 'available' AND available_at IS NOT NULL AND
      died.priority = level.priority AND died.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY died.available_at DESC
    LIMIT 1) AS available_at
    FROM level
    WHERE level.priority IS NOT NULL) AS newest ) AS available_at ) AS letters;

-- last_consumed
-- Return when a message of the queue was consumed last.
SELECT consumed_at AS consumed_at
    FROM (SELECT consumed_at
    FROM xclaim_message
    WHERE queue = :queue_name AND consumed_at IS NOT NULL
    ORDER BY consumed_at DESC
    LIMIT 1) AS newest;

-- latest
-- Return when the messages that were consumed last were available, claimed and consumed.
SELECT :queue_name AS queue, available_at, claimed_at, consumed_at, strftime('%Y-%m-%d %H:%M:%f', 'now') AS
      now
    FROM ( SELECT available_at, claimed_at, consumed_at
    FROM xclaim_message
    WHERE queue = :queue_name AND consumed_at IS NOT NULL AND consumed_at <= strftime('%Y-%m-%d %H:%M:%f',
      'now')
    ORDER BY consumed_at DESC
    LIMIT :sample ) AS latest;

-- consumed_in_steps
-- Count what was consumed of some queues in each of ``most`` steps of time since ``after``.
SELECT count(*) AS messages, min(consumed_at) AS consumed_at, count(CASE WHEN consumed_at > earliest THEN 1
      END) AS later
    FROM (SELECT consumed_at, min(consumed_at) OVER () AS earliest
    FROM (SELECT consumed_at
    FROM xclaim_message
    WHERE queue = :queue_name AND consumed_at IS NOT NULL AND consumed_at > :after AND consumed_at <= :until
    ORDER BY consumed_at DESC
    LIMIT :bound) AS newest) AS entry;

-- newest_pushed
-- Return of the newest ``bound`` messages of all queues those pushed to one, and when.
SELECT created_at AS created_at, newest.origin_queue = :queue_name AS is_of_queue
    FROM (SELECT created_at, origin_queue, id
    FROM xclaim_message
    ORDER BY id DESC
    LIMIT :bound) AS newest;

-- newest_dead
-- Return when the newest ``bound`` dead letters of a queue died, of those since ``after``.
SELECT available_at
    FROM xclaim_message
    WHERE queue = :dead_letter_queue AND status = 'available' AND available_at IS NOT NULL AND priority =
      :level AND available_at > :after AND available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY available_at DESC
    LIMIT :bound;

-- search, the newest by their payload
-- Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``.
SELECT looked.id, CAST(substr(looked.queue, 1, 1000) AS BLOB) AS queue, CAST(substr(looked.origin_queue, 1,
      1000) AS BLOB) AS origin_queue, CAST(substr(looked.status, 1, 1000) AS BLOB) AS status,
      CAST(looked.priority AS INTEGER) AS priority, CAST(substr(looked.unique_key, 1, 1000) AS BLOB) AS
      unique_key, CAST(looked.attempts AS INTEGER) AS attempts, CAST(looked.max_attempts AS INTEGER) AS
      max_attempts, CAST(looked.created_at AS BLOB) AS created_at, CAST(looked.available_at AS BLOB) AS
      available_at, CAST(looked.claimed_at AS BLOB) AS claimed_at, CAST(looked.claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(looked.consumed_at AS BLOB) AS consumed_at, CAST(substr(looked.claimed_by, 1,
      1000) AS BLOB) AS claimed_by, CAST(substr(looked.consumed_by, 1, 1000) AS BLOB) AS consumed_by,
      CAST(substr(looked.claim_key, 1, 1000) AS BLOB) AS claim_key, CAST(substr(looked.last_error_class, 1,
      1000) AS BLOB) AS last_error_class, CAST(substr(looked.codec, 1, 1000) AS BLOB) AS codec,
      CAST(substr(looked.ordering_key, 1, 1000) AS BLOB) AS ordering_key, CAST(substr(looked.last_error, 1,
      1000) AS BLOB) AS last_error, looked.status = 'available' AND looked.available_at > strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS is_later, looked.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS
      is_lapsed
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
    WHERE xclaim_message.id <= :from_id AND xclaim_message.id >= :to_id
    ORDER BY xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked
    WHERE CASE WHEN (looked.codec IS NULL) THEN EXISTS (SELECT 1
    FROM json_each(CASE WHEN (CASE WHEN (typeof(looked.payload) = 'text') THEN json_valid(looked.payload) ELSE
      0 END = 1) THEN looked.payload ELSE 'null' END) AS step_0_0_member, json_each(CASE WHEN
      (step_0_0_member.type IN ('object', 'array')) THEN step_0_0_member.value ELSE 'null' END) AS
      step_0_1_member
    WHERE CAST(step_0_0_member."key" AS TEXT) = :step_0_0 AND CAST(step_0_1_member."key" AS TEXT) = :step_0_1
      AND (step_0_1_member.type IN ('integer', 'real') AND step_0_1_member.value = CAST(:text_0 AS NUMERIC) OR
      (EXISTS (SELECT 1
    FROM json_each(CASE WHEN (step_0_1_member.type = 'array') THEN step_0_1_member.value ELSE '[]' END) AS
      text_0_element
    WHERE text_0_element.type IN ('integer', 'real') AND text_0_element.value = CAST(:text_0 AS NUMERIC)))))
      ELSE 1 = 0 END = 1
    ORDER BY looked.id DESC
    LIMIT :message_limit OFFSET :param_2;

-- search, waiting and of an Airflow run
-- Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``.
SELECT looked.id, CAST(substr(looked.queue, 1, 1000) AS BLOB) AS queue, CAST(substr(looked.origin_queue, 1,
      1000) AS BLOB) AS origin_queue, CAST(substr(looked.status, 1, 1000) AS BLOB) AS status,
      CAST(looked.priority AS INTEGER) AS priority, CAST(substr(looked.unique_key, 1, 1000) AS BLOB) AS
      unique_key, CAST(looked.attempts AS INTEGER) AS attempts, CAST(looked.max_attempts AS INTEGER) AS
      max_attempts, CAST(looked.created_at AS BLOB) AS created_at, CAST(looked.available_at AS BLOB) AS
      available_at, CAST(looked.claimed_at AS BLOB) AS claimed_at, CAST(looked.claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(looked.consumed_at AS BLOB) AS consumed_at, CAST(substr(looked.claimed_by, 1,
      1000) AS BLOB) AS claimed_by, CAST(substr(looked.consumed_by, 1, 1000) AS BLOB) AS consumed_by,
      CAST(substr(looked.claim_key, 1, 1000) AS BLOB) AS claim_key, CAST(substr(looked.last_error_class, 1,
      1000) AS BLOB) AS last_error_class, CAST(substr(looked.codec, 1, 1000) AS BLOB) AS codec,
      CAST(substr(looked.ordering_key, 1, 1000) AS BLOB) AS ordering_key, CAST(substr(looked.last_error, 1,
      1000) AS BLOB) AS last_error, looked.status = 'available' AND looked.available_at > strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS is_later, looked.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS
      is_lapsed, CAST(substr(typeof(looked.available_at), 1, 1) || hex(CAST(looked.available_at AS BLOB)) AS
      TEXT) AS place
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
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.priority = :priority AND
      xclaim_message.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (:place_kind = 't') THEN CAST(:place_bytes AS TEXT) ELSE :place_bytes
      END, :place_id)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked
    WHERE CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN json_valid(looked.headers) ELSE 0
      END = 1) THEN json_extract(looked.headers, '$.run_id') END AS TEXT) = :text_1 OR
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') > 1 AND instr(coalesce(looked.consumed_by,
      looked.claimed_by), '#') > 0 AND substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), 1, length(:text_1)) = :text_1 AND
      substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by), instr(coalesce(looked.consumed_by,
      looked.claimed_by), '/') + 1), length(:text_1) + 1), 1, length('/')) = '/' AND
      substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by), instr(coalesce(looked.consumed_by,
      looked.claimed_by), '/') + 1), length(:text_1) + 1),
      length(rtrim(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1),
      replace(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1), '/', ''))) + 1)
      = substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1), 2)
    ORDER BY looked.available_at DESC, looked.id DESC
    LIMIT :message_limit OFFSET :param_2;

-- search_ids
-- Return the ids, queues and statuses of those of the next messages that pass all tests.
SELECT looked.id, CAST(looked.queue AS BLOB) AS queue, CAST(looked.status AS BLOB) AS status
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
    WHERE xclaim_message.id <= :from_id AND xclaim_message.id >= :to_id
    ORDER BY xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked
    WHERE CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN json_valid(looked.headers) ELSE 0
      END = 1) THEN json_extract(looked.headers, '$.run_id') END AS TEXT) = :text_1 OR
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') > 1 AND instr(coalesce(looked.consumed_by,
      looked.claimed_by), '#') > 0 AND substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), 1, length(:text_1)) = :text_1 AND
      substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by), instr(coalesce(looked.consumed_by,
      looked.claimed_by), '/') + 1), length(:text_1) + 1), 1, length('/')) = '/' AND
      substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by), instr(coalesce(looked.consumed_by,
      looked.claimed_by), '/') + 1), length(:text_1) + 1),
      length(rtrim(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1),
      replace(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1), '/', ''))) + 1)
      = substr(substr(substr(coalesce(looked.consumed_by, looked.claimed_by),
      instr(coalesce(looked.consumed_by, looked.claimed_by), '/') + 1), length(:text_1) + 1), 2)
    ORDER BY looked.id DESC
    LIMIT :message_limit OFFSET :param_2;

-- looked_through
-- Return how many the next ``LOOK`` messages are, with the last of them.
SELECT looked.id, CAST(looked.created_at AS BLOB) AS created_at, CAST(substr(typeof(looked.available_at), 1,
      1) || hex(CAST(looked.available_at AS BLOB)) AS TEXT) AS place, (SELECT count(*) AS count_1
    FROM (SELECT xclaim_message.id AS id, xclaim_message.created_at AS created_at, xclaim_message.available_at
      AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.priority = :priority AND
      xclaim_message.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (:place_kind = 't') THEN CAST(:place_bytes AS TEXT) ELSE :place_bytes
      END, :place_id)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked) AS looked_at
    FROM (SELECT xclaim_message.id AS id, xclaim_message.created_at AS created_at, xclaim_message.available_at
      AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.priority = :priority AND
      xclaim_message.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (:place_kind = 't') THEN CAST(:place_bytes AS TEXT) ELSE :place_bytes
      END, :place_id)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT :look OFFSET :param_2) AS looked
    ORDER BY looked.available_at, looked.id
    LIMIT 1 OFFSET :param_3;

-- counted_to
-- Count the next ``LOOK`` messages down to one of them.
SELECT count(*) AS looked_at
    FROM (SELECT xclaim_message.id AS id, xclaim_message.available_at AS available_at
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.priority = :priority AND
      xclaim_message.available_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND (xclaim_message.available_at,
      xclaim_message.id) < (CASE WHEN (:place_kind = 't') THEN CAST(:place_bytes AS TEXT) ELSE :place_bytes
      END, :place_id)
    ORDER BY xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked
    WHERE (looked.available_at, looked.id) >= (CASE WHEN (:end_kind = 't') THEN CAST(:end_bytes AS TEXT) ELSE
      :end_bytes END, :end_id);

-- next_queue
-- Return the names of queues behind one, as many as ``LIMIT``: a descent of an index each.
WITH RECURSIVE found(name, number) AS (SELECT (SELECT first.queue
    FROM xclaim_message AS first
    WHERE first.claim_expires_at IS NOT NULL AND first.queue > :queue_name
    ORDER BY first.queue
    LIMIT 1 OFFSET :param_1) AS name, 1 AS number
    UNION ALL SELECT (SELECT following.queue
    FROM xclaim_message AS following
    WHERE following.claim_expires_at IS NOT NULL AND following.queue > found.name
    ORDER BY following.queue
    LIMIT 1 OFFSET :param_2) AS anon_1, found.number + 1 AS anon_2
    FROM found
    WHERE found.name IS NOT NULL AND found.number < :message_limit) SELECT CAST(found.name AS BLOB) AS queue
    FROM found
    WHERE found.name IS NOT NULL
    ORDER BY found.number;

-- next_level
-- Return the next lower priority in which messages of the queue wait.
SELECT CAST(xclaim_message.priority AS INTEGER) AS priority
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL AND xclaim_message.priority < :priority
    ORDER BY xclaim_message.priority DESC
    LIMIT 1 OFFSET :param_1;

-- keyed_ids
-- Return the ids of the messages with a unique key, in whatever queue: a descent for each.
WITH RECURSIVE origin(name, number) AS (SELECT (SELECT first.origin_queue
    FROM xclaim_message AS first
    WHERE first.unique_key IS NOT NULL
    ORDER BY first.origin_queue
    LIMIT 1 OFFSET :param_1) AS name, 1 AS number
    UNION ALL SELECT (SELECT following.origin_queue
    FROM xclaim_message AS following
    WHERE following.unique_key IS NOT NULL AND following.origin_queue > origin.name
    ORDER BY following.origin_queue
    LIMIT 1 OFFSET :param_2) AS anon_1, origin.number + 1 AS anon_2
    FROM origin
    WHERE origin.name IS NOT NULL AND origin.number < 10000) SELECT found.id
    FROM (SELECT (SELECT xclaim_message.id
    FROM xclaim_message
    WHERE xclaim_message.origin_queue = origin.name AND xclaim_message.unique_key = :key) AS id
    FROM origin) AS found
    WHERE found.id IS NOT NULL
    ORDER BY found.id;

-- beginnings
-- Return the beginning of the payloads of some messages, unless they are large or encoded.
SELECT xclaim_message.id, CAST(CASE WHEN (xclaim_message.codec IS NULL) THEN substr(xclaim_message.payload, 1,
      300) END AS BLOB) AS excerpt, length(CAST(xclaim_message.payload AS BLOB)) AS size
    FROM xclaim_message
    WHERE xclaim_message.id IN (SELECT item.id
    FROM (SELECT json_extract(anon_1.value, '$[0]') AS id, anon_1."key" AS position
    FROM json_each(:rows) AS anon_1) AS item);

-- look_at
-- Return one message, without its JSON.
SELECT xclaim_message.id, CAST(substr(xclaim_message.queue, 1, 1000) AS BLOB) AS queue,
      CAST(substr(xclaim_message.origin_queue, 1, 1000) AS BLOB) AS origin_queue,
      CAST(substr(xclaim_message.status, 1, 1000) AS BLOB) AS status, CAST(xclaim_message.priority AS INTEGER)
      AS priority, CAST(substr(xclaim_message.unique_key, 1, 1000) AS BLOB) AS unique_key,
      CAST(xclaim_message.attempts AS INTEGER) AS attempts, CAST(xclaim_message.max_attempts AS INTEGER) AS
      max_attempts, CAST(xclaim_message.created_at AS BLOB) AS created_at, CAST(xclaim_message.available_at AS
      BLOB) AS available_at, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at, CAST(xclaim_message.consumed_at AS
      BLOB) AS consumed_at, CAST(substr(xclaim_message.claimed_by, 1, 1000) AS BLOB) AS claimed_by,
      CAST(substr(xclaim_message.consumed_by, 1, 1000) AS BLOB) AS consumed_by,
      CAST(substr(xclaim_message.claim_key, 1, 1000) AS BLOB) AS claim_key,
      CAST(substr(xclaim_message.last_error_class, 1, 1000) AS BLOB) AS last_error_class,
      CAST(substr(xclaim_message.codec, 1, 1000) AS BLOB) AS codec, CAST(substr(xclaim_message.ordering_key,
      1, 1000) AS BLOB) AS ordering_key, CAST(substr(xclaim_message.last_error, 1, 10000) AS BLOB) AS
      last_error, xclaim_message.status = 'available' AND xclaim_message.available_at > strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS is_later, xclaim_message.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
      AS is_lapsed
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id;

-- document
-- Return the beginning of a JSON column of a message, and how large it is.
SELECT CAST(substr(xclaim_message.payload, 1, 100001) AS BLOB) AS text, length(CAST(xclaim_message.payload AS
      BLOB)) AS size
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id;

-- place_of_payload
-- Return whether an encoded payload is in the storage, and not in the row.
SELECT CAST(CASE WHEN (CASE WHEN (typeof(xclaim_message.payload) = 'text') THEN
      json_valid(xclaim_message.payload) ELSE 0 END = 1) THEN json_extract(xclaim_message.payload, '$.uri')
      END AS TEXT) IS NOT NULL AS is_stored
    FROM xclaim_message
    WHERE xclaim_message.id = :message_id;

-- held
-- Return who holds what, by queue and by the end of the lease: no tokens.
SELECT xclaim_message.id, CAST(substr(xclaim_message.queue, 1, 1000) AS BLOB) AS queue,
      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS BLOB) AS claimed_by, CAST(xclaim_message.attempts AS
      INTEGER) AS attempts, CAST(xclaim_message.claimed_at AS BLOB) AS claimed_at,
      CAST(xclaim_message.claim_expires_at AS BLOB) AS claim_expires_at,
      CAST(substr(xclaim_message.last_error_class, 1, 1000) AS BLOB) AS last_error_class,
      xclaim_message.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS is_lapsed,
      CAST(substr(typeof(xclaim_message.claim_expires_at), 1, 1) || hex(CAST(xclaim_message.claim_expires_at
      AS BLOB)) AS TEXT) AS place
    FROM xclaim_message
    WHERE xclaim_message.claim_expires_at IS NOT NULL AND (xclaim_message.queue,
      xclaim_message.claim_expires_at, xclaim_message.id) > (:queue_name, CASE WHEN (:place_kind = 't') THEN
      CAST(:place_bytes AS TEXT) ELSE :place_bytes END, :place_id)
    ORDER BY xclaim_message.queue, xclaim_message.claim_expires_at, xclaim_message.id
    LIMIT :message_limit OFFSET :param_1;

-- letters_by_error
-- Count the newest dead letters of a queue, ``LOOK`` of them, by their error.
SELECT said.position, CAST(said.last_error_class AS BLOB) AS last_error_class, CAST(said.first_line AS BLOB)
      AS first_line, count(*) AS letters, CAST(min(said.available_at) AS BLOB) AS available_at,
      CAST(max(said.available_at) AS BLOB) AS claimed_at, max(said.id) AS id
    FROM (SELECT newest.position AS position, newest.id AS id, newest.available_at AS available_at,
      substr(newest.last_error_class, 1, 1000) AS last_error_class, CASE WHEN (instr(substr(newest.last_error,
      1, 300), char(10)) > 0) THEN substr(substr(newest.last_error, 1, 300), 1,
      instr(substr(newest.last_error, 1, 300), char(10)) - 1) ELSE substr(newest.last_error, 1, 300) END AS
      first_line
    FROM (SELECT 1 AS position, xclaim_message.id AS id, xclaim_message.available_at AS available_at,
      xclaim_message.last_error_class AS last_error_class, xclaim_message.last_error AS last_error
    FROM xclaim_message
    WHERE xclaim_message.queue = :queue_name AND xclaim_message.status = 'available' AND
      xclaim_message.available_at IS NOT NULL
    ORDER BY xclaim_message.priority, xclaim_message.available_at DESC, xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS newest) AS said GROUP BY said.position, said.last_error_class,
      said.first_line
    ORDER BY said.position, count(*) DESC, max(said.id) DESC;

-- work
-- Return those of the next ``LOOK`` messages that a part of a DAG run has had to do with.
SELECT looked.id, CAST(substr(looked.queue, 1, 1000) AS BLOB) AS queue, CAST(substr(looked.origin_queue, 1,
      1000) AS BLOB) AS origin_queue, CAST(substr(looked.status, 1, 1000) AS BLOB) AS status,
      CAST(looked.priority AS INTEGER) AS priority, CAST(substr(looked.unique_key, 1, 1000) AS BLOB) AS
      unique_key, CAST(looked.attempts AS INTEGER) AS attempts, CAST(looked.max_attempts AS INTEGER) AS
      max_attempts, CAST(looked.created_at AS BLOB) AS created_at, CAST(looked.available_at AS BLOB) AS
      available_at, CAST(looked.claimed_at AS BLOB) AS claimed_at, CAST(looked.claim_expires_at AS BLOB) AS
      claim_expires_at, CAST(looked.consumed_at AS BLOB) AS consumed_at, CAST(substr(looked.claimed_by, 1,
      1000) AS BLOB) AS claimed_by, CAST(substr(looked.consumed_by, 1, 1000) AS BLOB) AS consumed_by,
      CAST(substr(looked.claim_key, 1, 1000) AS BLOB) AS claim_key, CAST(substr(looked.last_error_class, 1,
      1000) AS BLOB) AS last_error_class, CAST(substr(looked.codec, 1, 1000) AS BLOB) AS codec,
      CAST(substr(looked.ordering_key, 1, 1000) AS BLOB) AS ordering_key, CAST(substr(looked.last_error, 1,
      1000) AS BLOB) AS last_error, looked.status = 'available' AND looked.available_at > strftime('%Y-%m-%d
      %H:%M:%f', 'now') AS is_later, looked.claim_expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AS
      is_lapsed, coalesce(CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN
      json_valid(looked.headers) ELSE 0 END = 1) THEN json_extract(looked.headers, '$.dag_id') END AS TEXT) =
      :producer_dag_id AND CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN
      json_valid(looked.headers) ELSE 0 END = 1) THEN json_extract(looked.headers, '$.run_id') END AS TEXT) =
      :producer_run_id AND CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN
      json_valid(looked.headers) ELSE 0 END = 1) THEN json_extract(looked.headers, '$.task_id') END AS TEXT) =
      :producer_task_id AND CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN
      json_valid(looked.headers) ELSE 0 END = 1) THEN json_extract(looked.headers, '$.map_index') END AS TEXT)
      = :producer_map_index, 1 = 0) AS is_pushed, coalesce(looked.status = 'claimed' AND
      substr(looked.claimed_by, 1, length(:claimant_0)) = :claimant_0, 1 = 0) AS is_held,
      coalesce(looked.status = 'consumed' AND substr(looked.consumed_by, 1, length(:claimant_0)) =
      :claimant_0, 1 = 0) AS is_consumed, coalesce(CASE WHEN (looked.failures IS NOT NULL) THEN EXISTS (SELECT
      1
    FROM json_each(CASE WHEN (json_type(CASE WHEN (CASE WHEN (typeof(looked.failures) = 'text') THEN
      json_valid(looked.failures) ELSE 0 END = 1) THEN looked.failures ELSE 'null' END) = 'array') THEN CASE
      WHEN (CASE WHEN (typeof(looked.failures) = 'text') THEN json_valid(looked.failures) ELSE 0 END = 1) THEN
      looked.failures ELSE 'null' END ELSE '[]' END) AS element
    WHERE substr(CAST(CASE WHEN (element.type = 'object') THEN json_extract(element.value, '$.claimed_by') END
      AS TEXT), 1, length(:claimant_0)) = :claimant_0) ELSE 1 = 0 END, 1 = 0) AS is_failed
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
    WHERE xclaim_message.id <= :from_id AND xclaim_message.id >= :to_id
    ORDER BY xclaim_message.id DESC
    LIMIT :look OFFSET :param_1) AS looked
    WHERE coalesce(CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN json_valid(looked.headers)
      ELSE 0 END = 1) THEN json_extract(looked.headers, '$.dag_id') END AS TEXT) = :producer_dag_id AND
      CAST(CASE WHEN (CASE WHEN (typeof(looked.headers) = 'text') THEN json_valid(looked.headers) ELSE 0 END =
      1) THEN json_extract(looked.headers, '$.run_id') END AS TEXT) = :producer_run_id AND CAST(CASE WHEN
      (CASE WHEN (typeof(looked.headers) = 'text') THEN json_valid(looked.headers) ELSE 0 END = 1) THEN
      json_extract(looked.headers, '$.task_id') END AS TEXT) = :producer_task_id AND CAST(CASE WHEN (CASE WHEN
      (typeof(looked.headers) = 'text') THEN json_valid(looked.headers) ELSE 0 END = 1) THEN
      json_extract(looked.headers, '$.map_index') END AS TEXT) = :producer_map_index, 1 = 0) = 1 OR
      coalesce(looked.status = 'claimed' AND substr(looked.claimed_by, 1, length(:claimant_0)) = :claimant_0,
      1 = 0) = 1 OR coalesce(looked.status = 'consumed' AND substr(looked.consumed_by, 1, length(:claimant_0))
      = :claimant_0, 1 = 0) = 1 OR coalesce(CASE WHEN (looked.failures IS NOT NULL) THEN EXISTS (SELECT 1
    FROM json_each(CASE WHEN (json_type(CASE WHEN (CASE WHEN (typeof(looked.failures) = 'text') THEN
      json_valid(looked.failures) ELSE 0 END = 1) THEN looked.failures ELSE 'null' END) = 'array') THEN CASE
      WHEN (CASE WHEN (typeof(looked.failures) = 'text') THEN json_valid(looked.failures) ELSE 0 END = 1) THEN
      looked.failures ELSE 'null' END ELSE '[]' END) AS element
    WHERE substr(CAST(CASE WHEN (element.type = 'object') THEN json_extract(element.value, '$.claimed_by') END
      AS TEXT), 1, length(:claimant_0)) = :claimant_0) ELSE 1 = 0 END, 1 = 0) = 1
    ORDER BY looked.id DESC
    LIMIT :message_limit OFFSET :param_2;
