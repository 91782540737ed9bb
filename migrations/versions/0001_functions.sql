-- The verbs as functions; written by `python -m tests.sql_functions` from the statements.
-- The migration puts in the name of the schema, and quotes what stands between dollars.

-- Push a payload and return the id of its message. With a unique_key the message that is there
-- already, if it has the same payload; else XC002. With an ordering_key it is claimed after
-- those that were pushed with the same one before. XC003 if the queue is full.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push(
    queue text, payload jsonb, unique_key text DEFAULT NULL, priority integer DEFAULT 0,
    delay interval DEFAULT '0', max_attempts integer DEFAULT 20,
    headers jsonb DEFAULT '{}', ordering_key text DEFAULT NULL, on_dead text DEFAULT 'skip'
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _id bigint;
    _pushed record;  -- into one variable PostgreSQL may be set to put no more than one column
    _count integer := 1;
    _most integer;
    _on_full text COLLATE "default";
    _waiting bigint;
BEGIN
    IF coalesce(octet_length((xclaim_push.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_push.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_push.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_push.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_push.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_push.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF (xclaim_push.queue COLLATE "default") LIKE '%.dead' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must not end with .dead: only failing messages enter %s',
            to_json(left((xclaim_push.queue COLLATE "default"), 60)));
    END IF;
    IF coalesce(date_part('epoch', xclaim_push.delay) NOT BETWEEN 0 AND 316224000, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'delay must lie between 0 and 3660 days, not %L', xclaim_push.delay);
    END IF;
    IF coalesce(xclaim_push.priority NOT BETWEEN -32768 AND 32767, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'priority must lie between -32768 and 32767, not %L', xclaim_push.priority);
    END IF;
    IF xclaim_push.max_attempts < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'max_attempts must be 1 or more, or NULL for any number, not %s',
            xclaim_push.max_attempts);
    END IF;
    IF jsonb_typeof(xclaim_push.headers) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'headers must be a JSON object, not %s',
            coalesce(jsonb_typeof(xclaim_push.headers), 'NULL'));
    END IF;
    IF coalesce((xclaim_push.on_dead COLLATE "default"), '') NOT IN ('skip', 'hold') THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            $m$on_dead must be 'skip' or 'hold', not %s$m$,
            coalesce(to_json(left((xclaim_push.on_dead COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF xclaim_push.payload IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'payload is NULL',
            HINT = $h$for JSON null pass 'null'::jsonb$h$;
    END IF;
    IF (xclaim_push.unique_key COLLATE "default") IS NULL AND (xclaim_push.ordering_key COLLATE "default") IS NULL THEN
        IF EXISTS (SELECT FROM {schema}.xclaim_queue AS limited
                 WHERE limited.queue = (xclaim_push.queue COLLATE "default") AND limited.max_backlog IS NOT NULL) THEN
            IF to_regprocedure({pass_owed}) IS NULL THEN
                SELECT (SELECT xclaim_queue.max_backlog
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                    FROM (SELECT xclaim_message.id AS id
                    FROM {schema}.xclaim_message
                    WHERE xclaim_message.queue = (xclaim_push.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                      xclaim_message.available_at IS NOT NULL
                    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                      xclaim_message.id
                    LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text), -1) + 1) AS anon_1) + 0 AS waiting INTO _most, _on_full, _waiting;
            ELSE
                SELECT (SELECT xclaim_queue.max_backlog
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                    FROM (SELECT xclaim_message.id AS id
                    FROM {schema}.xclaim_message
                    WHERE xclaim_message.queue = (xclaim_push.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                      xclaim_message.available_at IS NOT NULL
                    ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                      xclaim_message.id
                    LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text), -1) + 1) AS anon_1) + (SELECT count(*) AS
                      count_2
                    FROM (SELECT xclaim_message.id AS id
                    FROM {schema}.xclaim_message
                    WHERE xclaim_message.queue = (xclaim_push.queue COLLATE "default")::text AND xclaim_message.ordering_key IS NOT NULL
                      AND xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL
                    ORDER BY xclaim_message.queue, xclaim_message.ordering_key, xclaim_message.id
                    LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                    FROM {schema}.xclaim_queue
                    WHERE xclaim_queue.queue = (xclaim_push.queue COLLATE "default")::text), -1) + 1) AS anon_2) AS waiting INTO _most, _on_full, _waiting;
            END IF;
            IF _count > 0 AND _waiting + _count > _most THEN
                RAISE 'queue % is full: % messages wait, max_backlog is %, and there is no room for % more',
                    quote_literal((xclaim_push.queue COLLATE "default")), least(_waiting, _most + 1), _most, _count
                    USING ERRCODE = 'XC003', HINT = 'push again when some were claimed, or let more wait';
            END IF;
        END IF;
        INSERT INTO {schema}.xclaim_message (created_at, available_at, max_attempts, priority, queue,
              origin_queue, unique_key, headers, payload) VALUES (statement_timestamp(),
              (statement_timestamp() + (date_part('epoch', xclaim_push.delay)::DOUBLE PRECISION * interval
              '1 second')), xclaim_push.max_attempts::INTEGER, xclaim_push.priority::SMALLINT,
              (xclaim_push.queue COLLATE "default")::text, (xclaim_push.queue COLLATE "default")::text, CAST(NULL AS text), xclaim_push.headers::jsonb,
              xclaim_push.payload::jsonb)
            RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at INTO _pushed;
        RETURN _pushed.id;
    END IF;
    SELECT pushed.id INTO _id
      FROM {schema}.xclaim_push_many(
               (xclaim_push.queue COLLATE "default"), ARRAY[xclaim_push.payload], ARRAY[(xclaim_push.unique_key COLLATE "default")],
               xclaim_push.priority, xclaim_push.delay, xclaim_push.max_attempts,
               xclaim_push.headers, ARRAY[(xclaim_push.ordering_key COLLATE "default")], (xclaim_push.on_dead COLLATE "default"))
           AS pushed;
    RETURN _id;
END
$$;

-- Push payloads, all or none, and return their ids in the same order. Those under a unique_key
-- that is taken by the same payload are not new. XC003 if there is no room for what is new.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push_many(
    queue text, payloads jsonb[], unique_keys text[] DEFAULT NULL, priority integer DEFAULT 0,
    delay interval DEFAULT '0', max_attempts integer DEFAULT 20,
    headers jsonb DEFAULT '{}', ordering_keys text[] DEFAULT NULL, on_dead text DEFAULT 'skip'
) RETURNS TABLE (id bigint, is_new boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _is_ordered boolean := EXISTS (SELECT FROM unnest((xclaim_push_many.ordering_keys COLLATE "default")) AS given (key)
                                    WHERE key IS NOT NULL);
    _holds_turn boolean := nullif((xclaim_push_many.on_dead COLLATE "default") = 'hold', false);
    _payloads jsonb[];
    _keys text[] COLLATE "default";
    _lines text[] COLLATE "default";
    _left integer;
    _found bigint[] := '{}';
    _found_keys text[] COLLATE "default" := '{}';
    _found_new boolean[] := '{}';
    _ids bigint[];
    _id_keys text[] COLLATE "default";
    _same boolean[];
    _new boolean[];
    _count integer := cardinality(xclaim_push_many.payloads);
    _bytes integer;
    _most integer;
    _on_full text COLLATE "default";
    _waiting bigint;
BEGIN
    IF coalesce(octet_length((xclaim_push_many.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_push_many.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_push_many.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_push_many.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_push_many.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_push_many.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF (xclaim_push_many.queue COLLATE "default") LIKE '%.dead' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must not end with .dead: only failing messages enter %s',
            to_json(left((xclaim_push_many.queue COLLATE "default"), 60)));
    END IF;
    IF coalesce(date_part('epoch', xclaim_push_many.delay) NOT BETWEEN 0 AND 316224000, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'delay must lie between 0 and 3660 days, not %L', xclaim_push_many.delay);
    END IF;
    IF coalesce(xclaim_push_many.priority NOT BETWEEN -32768 AND 32767, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'priority must lie between -32768 and 32767, not %L', xclaim_push_many.priority);
    END IF;
    IF xclaim_push_many.max_attempts < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'max_attempts must be 1 or more, or NULL for any number, not %s',
            xclaim_push_many.max_attempts);
    END IF;
    IF jsonb_typeof(xclaim_push_many.headers) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'headers must be a JSON object, not %s',
            coalesce(jsonb_typeof(xclaim_push_many.headers), 'NULL'));
    END IF;
    IF coalesce((xclaim_push_many.on_dead COLLATE "default"), '') NOT IN ('skip', 'hold') THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            $m$on_dead must be 'skip' or 'hold', not %s$m$,
            coalesce(to_json(left((xclaim_push_many.on_dead COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF array_ndims(xclaim_push_many.payloads) > 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'payloads must be one list, not an array of %s dimensions',
            array_ndims(xclaim_push_many.payloads)),
            HINT = $h$for a payload that is a list pass '[1, 2]'::jsonb$h$;
    END IF;
    IF xclaim_push_many.payloads IS NULL
       OR array_position(xclaim_push_many.payloads, NULL) IS NOT NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'a payload is NULL',
            HINT = $h$for JSON null pass 'null'::jsonb$h$;
    END IF;
    IF cardinality((xclaim_push_many.ordering_keys COLLATE "default")) <> cardinality(xclaim_push_many.payloads) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            '%s ordering_keys for %s payloads', cardinality((xclaim_push_many.ordering_keys COLLATE "default")),
            cardinality(xclaim_push_many.payloads)),
            HINT = 'pass one key, or NULL, for each';
    END IF;
    SELECT octet_length(key) INTO _bytes FROM unnest((xclaim_push_many.ordering_keys COLLATE "default")) AS given (key)
     WHERE octet_length(key) NOT BETWEEN 1 AND 255 LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'ordering_key must have 1 to 255 bytes, not %s', _bytes);
    END IF;
    IF _is_ordered THEN
        IF to_regprocedure({line_up}) IS NULL THEN
            RAISE object_not_in_prerequisite_state USING
                MESSAGE = 'ordering keys are not enabled in this database',
                HINT = 'run xclaim ordering enable once, as the owner of the table';
        END IF;
    END IF;
    IF (xclaim_push_many.unique_keys COLLATE "default") IS NULL AND EXISTS (SELECT FROM {schema}.xclaim_queue AS limited
             WHERE limited.queue = (xclaim_push_many.queue COLLATE "default") AND limited.max_backlog IS NOT NULL) THEN
        IF to_regprocedure({pass_owed}) IS NULL THEN
            SELECT (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                  xclaim_message.available_at IS NOT NULL
                ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                  xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_1) + 0 AS waiting INTO _most, _on_full, _waiting;
        ELSE
            SELECT (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                  xclaim_message.available_at IS NOT NULL
                ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                  xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_1) + (SELECT count(*) AS
                  count_2
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.ordering_key IS NOT NULL
                  AND xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL
                ORDER BY xclaim_message.queue, xclaim_message.ordering_key, xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_2) AS waiting INTO _most, _on_full, _waiting;
        END IF;
        IF _count > 0 AND _waiting + _count > _most THEN
            RAISE 'queue % is full: % messages wait, max_backlog is %, and there is no room for % more',
                quote_literal((xclaim_push_many.queue COLLATE "default")), least(_waiting, _most + 1), _most, _count
                USING ERRCODE = 'XC003', HINT = 'push again when some were claimed, or let more wait';
        END IF;
    END IF;
    IF (xclaim_push_many.unique_keys COLLATE "default") IS NULL AND NOT _is_ordered THEN
        RETURN QUERY WITH pushed AS (
            INSERT INTO {schema}.xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
                  max_attempts, created_at, available_at) SELECT (xclaim_push_many.queue COLLATE "default")::text AS queue,
                  (xclaim_push_many.queue COLLATE "default")::text AS origin_queue, xclaim_push_many.priority::SMALLINT AS priority,
                  item.payload AS payload, xclaim_push_many.headers::jsonb AS headers, CAST(NULL AS text) AS
                  unique_key, xclaim_push_many.max_attempts::INTEGER AS max_attempts, statement_timestamp() AS
                  created_at, statement_timestamp() + (date_part('epoch', xclaim_push_many.delay)::DOUBLE PRECISION *
                  interval '1 second') AS available_at
                FROM jsonb_array_elements(to_jsonb(xclaim_push_many.payloads)::jsonb) WITH ORDINALITY AS
                  item(payload, position)
                ORDER BY item.position
                RETURNING xclaim_message.id, xclaim_message.created_at, xclaim_message.available_at)
        SELECT pushed.id, true FROM pushed ORDER BY pushed.id;
        RETURN;
    ELSIF (xclaim_push_many.unique_keys COLLATE "default") IS NULL THEN
        WITH pushed AS (
            INSERT INTO {schema}.xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
                  max_attempts, created_at, available_at, due_at, keeps_turn, ordering_key) SELECT
                  (xclaim_push_many.queue COLLATE "default")::text AS queue, (xclaim_push_many.queue COLLATE "default")::text AS origin_queue,
                  xclaim_push_many.priority::SMALLINT AS priority, item.payload AS payload, xclaim_push_many.headers::jsonb
                  AS headers, CAST(NULL AS text) AS unique_key, xclaim_push_many.max_attempts::INTEGER AS
                  max_attempts, statement_timestamp() AS created_at, CASE WHEN (CAST(CASE WHEN
                  (item.ordering_key <> '') THEN item.ordering_key END AS text) IS NULL) THEN
                  statement_timestamp() + (date_part('epoch', xclaim_push_many.delay)::DOUBLE PRECISION * interval
                  '1 second') END AS available_at, CASE WHEN (CAST(CASE WHEN (item.ordering_key <> '') THEN
                  item.ordering_key END AS text) IS NOT NULL) THEN statement_timestamp() + (date_part('epoch',
                  xclaim_push_many.delay)::DOUBLE PRECISION * interval '1 second') END AS due_at, CASE WHEN (CAST(CASE
                  WHEN (item.ordering_key <> '') THEN item.ordering_key END AS text) IS NOT NULL) THEN
                  _holds_turn::BOOLEAN END AS keeps_turn, CAST(CASE WHEN (item.ordering_key <> '') THEN
                  item.ordering_key END AS text) AS ordering_key
                FROM unnest(xclaim_push_many.payloads::jsonb[], (xclaim_push_many.ordering_keys COLLATE "default")::text[]) WITH
                  ORDINALITY AS item(payload, ordering_key, position)
                ORDER BY item.position
                RETURNING xclaim_message.id, xclaim_message.created_at, coalesce(xclaim_message.available_at,
                  xclaim_message.due_at) AS available_at)
        SELECT array_agg(pushed.id ORDER BY pushed.id) INTO _ids FROM pushed;
        PERFORM {schema}.xclaim_line_up(_ids);
        RETURN QUERY SELECT each.id, true FROM unnest(_ids) AS each (id) ORDER BY each.id;
        RETURN;
    END IF;
    IF cardinality((xclaim_push_many.unique_keys COLLATE "default")) <> cardinality(xclaim_push_many.payloads) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            '%s unique_keys for %s payloads', cardinality((xclaim_push_many.unique_keys COLLATE "default")),
            cardinality(xclaim_push_many.payloads)),
            HINT = 'pass one key, or NULL, for each';
    END IF;
    SELECT octet_length(key) INTO _bytes FROM unnest((xclaim_push_many.unique_keys COLLATE "default")) AS given (key)
     WHERE octet_length(key) NOT BETWEEN 1 AND 1000 LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'unique_key must have 1 to 1000 bytes, not %s', _bytes);
    END IF;
    -- Each key once.
    SELECT array_agg(one.payload ORDER BY one.place), array_agg(one.key ORDER BY one.place),
           array_agg(one.line ORDER BY one.place)
      INTO _payloads, _keys, _lines
      FROM (SELECT min(place) AS place, (array_agg(payload ORDER BY place))[1] AS payload, key,
                   (array_agg(line ORDER BY place))[1] AS line
              FROM unnest(xclaim_push_many.payloads, (xclaim_push_many.unique_keys COLLATE "default"),
                          (xclaim_push_many.ordering_keys COLLATE "default"))
                   WITH ORDINALITY AS given (payload, key, line, place)
             GROUP BY key, CASE WHEN key IS NULL THEN place END
            HAVING count(DISTINCT payload) = 1) AS one;
    IF coalesce(cardinality(_keys), 0) <> (
            SELECT count(DISTINCT key) + count(*) FILTER (WHERE key IS NULL)
              FROM unnest((xclaim_push_many.unique_keys COLLATE "default")) AS given (key)) THEN
        RAISE 'a unique_key is given with two payloads'
            USING ERRCODE = 'XC002', HINT = 'push the same payload, or use another unique_key';
    END IF;
    IF EXISTS (SELECT FROM {schema}.xclaim_queue AS limited
             WHERE limited.queue = (xclaim_push_many.queue COLLATE "default") AND limited.max_backlog IS NOT NULL) THEN
        SELECT count(*) INTO _count
          FROM unnest(_keys) AS given (key)
         WHERE key IS NULL OR NOT EXISTS (
               SELECT FROM {schema}.xclaim_message AS taken
                WHERE taken.origin_queue = (xclaim_push_many.queue COLLATE "default") AND taken.unique_key = given.key);
        IF to_regprocedure({pass_owed}) IS NULL THEN
            SELECT (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                  xclaim_message.available_at IS NOT NULL
                ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                  xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_1) + 0 AS waiting INTO _most, _on_full, _waiting;
        ELSE
            SELECT (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS max_backlog, (SELECT xclaim_queue.on_full
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text) AS on_full, (SELECT count(*) AS count_1
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.status = 'available' AND
                  xclaim_message.available_at IS NOT NULL
                ORDER BY xclaim_message.queue, xclaim_message.priority DESC, xclaim_message.available_at,
                  xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_1) + (SELECT count(*) AS
                  count_2
                FROM (SELECT xclaim_message.id AS id
                FROM {schema}.xclaim_message
                WHERE xclaim_message.queue = (xclaim_push_many.queue COLLATE "default")::text AND xclaim_message.ordering_key IS NOT NULL
                  AND xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL
                ORDER BY xclaim_message.queue, xclaim_message.ordering_key, xclaim_message.id
                LIMIT coalesce(NULL::INTEGER, (SELECT xclaim_queue.max_backlog
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_push_many.queue COLLATE "default")::text), -1) + 1) AS anon_2) AS waiting INTO _most, _on_full, _waiting;
        END IF;
        IF _count > 0 AND _waiting + _count > _most THEN
            RAISE 'queue % is full: % messages wait, max_backlog is %, and there is no room for % more',
                quote_literal((xclaim_push_many.queue COLLATE "default")), least(_waiting, _most + 1), _most, _count
                USING ERRCODE = 'XC003', HINT = 'push again when some were claimed, or let more wait';
        END IF;
    END IF;
    _left := coalesce(cardinality(_keys), 0);
    FOR _try IN 1..10 + _left LOOP
        EXIT WHEN _left = 0;
        WITH incoming AS MATERIALIZED (SELECT item.payload AS payload, CASE WHEN (item.unique_key <> '')
              THEN item.unique_key END AS unique_key, item.ordering_key AS ordering_key, item.position AS
              position
            FROM unnest(_payloads::jsonb[], _keys::text[], _lines::text[]) WITH ORDINALITY AS item(payload,
              unique_key, ordering_key, position)), existing AS MATERIALIZED (SELECT taken.id AS id,
              taken.unique_key AS unique_key, taken.payload = incoming.payload AND taken.codec IS NULL AS
              is_same
            FROM incoming JOIN {schema}.xclaim_message AS taken ON taken.origin_queue =
              (xclaim_push_many.queue COLLATE "default")::text AND taken.unique_key = incoming.unique_key), pushed AS (INSERT INTO
              {schema}.xclaim_message (queue, origin_queue, priority, payload, headers, unique_key,
              max_attempts, created_at, available_at, due_at, keeps_turn, ordering_key) SELECT
              (xclaim_push_many.queue COLLATE "default")::text AS queue, (xclaim_push_many.queue COLLATE "default")::text AS origin_queue,
              xclaim_push_many.priority::SMALLINT AS priority, incoming.payload AS payload,
              xclaim_push_many.headers::jsonb AS headers, CAST(incoming.unique_key AS text) AS unique_key,
              xclaim_push_many.max_attempts::INTEGER AS max_attempts, statement_timestamp() AS created_at, CASE
              WHEN (CAST(CASE WHEN (incoming.ordering_key <> '') THEN incoming.ordering_key END AS text) IS
              NULL) THEN statement_timestamp() + (date_part('epoch', xclaim_push_many.delay)::DOUBLE PRECISION *
              interval '1 second') END AS available_at, CASE WHEN (CAST(CASE WHEN (incoming.ordering_key <>
              '') THEN incoming.ordering_key END AS text) IS NOT NULL) THEN statement_timestamp() +
              (date_part('epoch', xclaim_push_many.delay)::DOUBLE PRECISION * interval '1 second') END AS due_at,
              CASE WHEN (CAST(CASE WHEN (incoming.ordering_key <> '') THEN incoming.ordering_key END AS
              text) IS NOT NULL) THEN _holds_turn::BOOLEAN END AS keeps_turn, CAST(CASE WHEN
              (incoming.ordering_key <> '') THEN incoming.ordering_key END AS text) AS ordering_key
            FROM incoming
            WHERE NOT (EXISTS (SELECT existing.id
            FROM existing
            WHERE NOT existing.is_same)) AND NOT (EXISTS (SELECT existing.id
            FROM existing
            WHERE existing.unique_key = incoming.unique_key))
            ORDER BY incoming.position
            ON CONFLICT (origin_queue, unique_key)
            WHERE unique_key IS NOT NULL DO NOTHING
            RETURNING xclaim_message.id, xclaim_message.unique_key) SELECT array_agg(answered.id
            ORDER BY answered.id) AS array_agg_1, array_agg(answered.unique_key
            ORDER BY answered.id) AS array_agg_2, array_agg(answered.is_same
            ORDER BY answered.id) AS array_agg_3, array_agg(answered.is_new
            ORDER BY answered.id) AS array_agg_4
            FROM (SELECT existing.id AS id, existing.unique_key AS unique_key, existing.is_same AS is_same,
              false AS is_new
            FROM existing
            UNION ALL SELECT pushed.id AS id, pushed.unique_key AS unique_key, true AS is_same, true AS
              is_new
            FROM pushed) AS answered
            INTO _ids, _id_keys, _same, _new;
        IF array_position(_same, false) > 0 THEN
            RAISE 'unique_key % is taken in queue % by another payload',
                (SELECT string_agg(quote_literal(key), ', ' ORDER BY key)
                   FROM (SELECT key FROM unnest(_id_keys, _same) AS row (key, is_same)
                          WHERE NOT is_same ORDER BY key LIMIT 10) AS clashing),
                quote_literal((xclaim_push_many.queue COLLATE "default"))
                USING ERRCODE = 'XC002',
                HINT = 'push the same payload again, or use another unique_key';
        END IF;
        _found := _found || _ids;
        _found_keys := _found_keys || _id_keys;
        _found_new := _found_new || _new;
        -- What another session has pushed since the statement began.
        SELECT array_agg(payload ORDER BY place), array_agg(key ORDER BY place),
               array_agg(line ORDER BY place)
          INTO _payloads, _keys, _lines
          FROM unnest(_payloads, _keys, _lines)
               WITH ORDINALITY AS given (payload, key, line, place)
         WHERE key IS NOT NULL AND NOT key = ANY (_found_keys);
        _left := coalesce(cardinality(_keys), 0);
    END LOOP;
    IF _left > 0 THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'what is under the unique_key can be neither inserted nor seen',
            HINT = 'grant the role what a producer needs with xclaim grants';
    END IF;
    IF _is_ordered THEN
        PERFORM {schema}.xclaim_line_up(
            ARRAY(SELECT id FROM unnest(_found, _found_new) AS row (id, is_new) WHERE is_new));
    END IF;
    RETURN QUERY
        SELECT answered.id, answered.is_new AND NOT given.is_repeated
          FROM (SELECT place, key,
                       CASE WHEN key IS NULL
                            THEN row_number() OVER (PARTITION BY key ORDER BY place) END AS unkeyed,
                       row_number() OVER (PARTITION BY key ORDER BY place) > 1
                         AND key IS NOT NULL AS is_repeated
                  FROM unnest((xclaim_push_many.unique_keys COLLATE "default"))
                       WITH ORDINALITY AS each (key, place)) AS given
          JOIN (SELECT found.id, found.key, found.is_new,
                       CASE WHEN key IS NULL
                            THEN row_number() OVER (PARTITION BY key ORDER BY found.id)
                            END AS unkeyed
                  FROM unnest(_found, _found_keys, _found_new)
                       AS found (id, key, is_new)) AS answered
            ON answered.key = given.key OR answered.unkeyed = given.unkeyed
         ORDER BY given.place;
END
$$;

-- A trigger: push the row, AFTER INSERT, UPDATE or DELETE ... FOR EACH ROW. Its arguments: the
-- queue; if it is to be pushed once, the column with the unique_key, else ''; the column with
-- the ordering_key.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push_row() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    _row jsonb;
    _column text COLLATE "default";
BEGIN
    IF TG_WHEN <> 'AFTER' OR TG_LEVEL <> 'ROW' OR TG_NARGS NOT BETWEEN 1 AND 3 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'xclaim_push_row is for AFTER ... FOR EACH ROW, with one to three arguments',
            HINT = $h$EXECUTE FUNCTION xclaim_push_row('queue', 'column of the unique_key' or '',
                'column of the ordering_key')$h$;
    END IF;
    _row := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
    FOREACH _column IN ARRAY TG_ARGV[1:] LOOP
        IF _column <> '' AND NOT _row ? _column THEN
            RAISE undefined_column USING
                MESSAGE = format('%I.%I has no column %I', TG_TABLE_SCHEMA, TG_TABLE_NAME, _column);
        END IF;
    END LOOP;
    PERFORM {schema}.xclaim_push(
        TG_ARGV[0], _row, unique_key => _row ->> nullif(TG_ARGV[1], ''),
        ordering_key => _row ->> nullif(TG_ARGV[2], ''));
    RETURN NULL;
END
$$;

-- Claim up to n messages, the next one first: highest priority, then longest available. Lapsed
-- claims of the queue are given back on the way. With a claim_key what an earlier attempt (same
-- key, another claimed_by) still holds is taken back first, alone.
CREATE OR REPLACE FUNCTION {schema}.xclaim_claim(
    queue text, claimed_by text DEFAULT NULL, n integer DEFAULT 1,
    lease interval DEFAULT '5 minutes', claim_key text DEFAULT NULL
) RETURNS TABLE (
    id bigint, token uuid, payload jsonb, headers jsonb, attempts integer, max_attempts integer,
    priority smallint, unique_key text, origin_queue text, created_at timestamptz,
    expires_at timestamptz, last_error text, codec text, ordering_key text
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _claimant text COLLATE "default" := coalesce((xclaim_claim.claimed_by COLLATE "default"), session_user || ':' || pg_backend_pid());
    _secret bytea := uuid_send(gen_random_uuid());
    _dead text COLLATE "default" := CASE WHEN (xclaim_claim.queue COLLATE "default") LIKE '%.dead' THEN (xclaim_claim.queue COLLATE "default") ELSE (xclaim_claim.queue COLLATE "default") || '.dead' END;
    _drawn integer := floor(random() * 1000000);
    _lapsed bigint;
BEGIN
    IF coalesce(octet_length((xclaim_claim.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_claim.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_claim.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_claim.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_claim.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_claim.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF coalesce(date_part('epoch', xclaim_claim.lease) NOT BETWEEN 0 AND 316224000, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'lease must lie between 0 and 3660 days, not %L', xclaim_claim.lease);
    END IF;
    IF coalesce(xclaim_claim.n, 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must lie between 1 and 1000000, not %L', xclaim_claim.n);
    END IF;
    IF octet_length(_claimant) NOT BETWEEN 1 AND 1000
       OR octet_length((xclaim_claim.claim_key COLLATE "default")) NOT BETWEEN 1 AND 1000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'claimed_by and claim_key must have 1 to 1000 bytes, not %s and %s',
            octet_length(_claimant), coalesce(octet_length((xclaim_claim.claim_key COLLATE "default"))::text, 'NULL'));
    END IF;
    IF EXISTS (SELECT FROM {schema}.xclaim_message AS held
                WHERE held.queue = (xclaim_claim.queue COLLATE "default")
                  AND held.claim_expires_at <= statement_timestamp()) THEN
        IF (xclaim_claim.claim_key COLLATE "default") IS NULL THEN
            WITH given_back AS (
                WITH RECURSIVE ends(ends_at) AS (SELECT (SELECT first_end.claim_expires_at
                    FROM {schema}.xclaim_message AS first_end
                    WHERE first_end.queue = (xclaim_claim.queue COLLATE "default")::text AND first_end.claim_expires_at <=
                      statement_timestamp() AND first_end.status = 'claimed' AND CASE WHEN (first_end.consumed_at IS
                      NOT NULL) THEN false ELSE true END
                    ORDER BY first_end.claim_expires_at
                    LIMIT 1) AS ends_at
                    UNION ALL SELECT (SELECT later_end.claim_expires_at
                    FROM {schema}.xclaim_message AS later_end
                    WHERE later_end.queue = (xclaim_claim.queue COLLATE "default")::text AND later_end.claim_expires_at <=
                      statement_timestamp() AND later_end.claim_expires_at > ends.ends_at AND later_end.status =
                      'claimed' AND CASE WHEN (later_end.consumed_at IS NOT NULL) THEN false ELSE true END
                    ORDER BY later_end.claim_expires_at
                    LIMIT 1) AS anon_4
                    FROM ends
                    WHERE ends.ends_at IS NOT NULL), lapsed AS MATERIALIZED (SELECT of_end.id AS id
                    FROM ends JOIN LATERAL (SELECT held.id AS id
                    FROM {schema}.xclaim_message AS held
                    WHERE held.queue = (xclaim_claim.queue COLLATE "default")::text AND held.status = 'claimed' AND CASE WHEN
                      (held.consumed_at IS NOT NULL) THEN false ELSE true END AND held.claim_expires_at =
                      ends.ends_at FOR NO KEY UPDATE SKIP LOCKED) AS of_end ON true
                    LIMIT 100::INTEGER) UPDATE {schema}.xclaim_message
                    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                      THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                      _dead::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN NULL
                      ELSE greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
                      (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                      AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                      PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                      97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) END AS anon_1), due_at=(SELECT
                      CASE WHEN (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE
                      WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND
                      xclaim_message.queue <> _dead::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
                      greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
                      (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                      AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                      PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                      97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END
                      AS anon_2), claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
                      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
                      false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
                      xclaim_message.claim_key ELSE NULL END, last_error=CASE WHEN coalesce(CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
                      CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'error', 1, 4096) END ELSE
                      'lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text) END,
                      last_error_class=CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
                      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->>
                      'attempt', 1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error_class') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'error_class', 1, 4096) END ELSE
                      'LeaseExpired' END, failures=(SELECT CASE WHEN coalesce(CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
                      CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN xclaim_message.failures
                      ELSE CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
                      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
                      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
                      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
                      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC',
                      statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 'error_class', 'LeaseExpired',
                      'error', substr('lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1,
                      1000) AS text), 1, 1000))) END AS anon_3), queue=CASE WHEN coalesce(xclaim_message.attempts >=
                      CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
                      _dead::text ELSE xclaim_message.queue END
                    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
                    FROM lapsed))) AND xclaim_message.status = 'claimed'
                    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts,
                      xclaim_message.available_at)
            SELECT count(*) INTO _lapsed FROM given_back;
        ELSE
            WITH given_back AS (
                WITH RECURSIVE ends(ends_at) AS (SELECT (SELECT first_end.claim_expires_at
                    FROM {schema}.xclaim_message AS first_end
                    WHERE first_end.queue = (xclaim_claim.queue COLLATE "default")::text AND first_end.claim_expires_at <=
                      statement_timestamp() AND first_end.status = 'claimed' AND CASE WHEN (first_end.consumed_at IS
                      NOT NULL) THEN false ELSE true END AND NOT coalesce(first_end.claim_key =
                      (xclaim_claim.claim_key COLLATE "default")::text, first_end.claim_key IS NULL AND (xclaim_claim.claim_key COLLATE "default")::text IS
                      NULL)
                    ORDER BY first_end.claim_expires_at
                    LIMIT 1) AS ends_at
                    UNION ALL SELECT (SELECT later_end.claim_expires_at
                    FROM {schema}.xclaim_message AS later_end
                    WHERE later_end.queue = (xclaim_claim.queue COLLATE "default")::text AND later_end.claim_expires_at <=
                      statement_timestamp() AND later_end.claim_expires_at > ends.ends_at AND later_end.status =
                      'claimed' AND CASE WHEN (later_end.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT
                      coalesce(later_end.claim_key = (xclaim_claim.claim_key COLLATE "default")::text, later_end.claim_key IS NULL AND
                      (xclaim_claim.claim_key COLLATE "default")::text IS NULL)
                    ORDER BY later_end.claim_expires_at
                    LIMIT 1) AS anon_4
                    FROM ends
                    WHERE ends.ends_at IS NOT NULL), lapsed AS MATERIALIZED (SELECT of_end.id AS id
                    FROM ends JOIN LATERAL (SELECT held.id AS id
                    FROM {schema}.xclaim_message AS held
                    WHERE held.queue = (xclaim_claim.queue COLLATE "default")::text AND held.status = 'claimed' AND CASE WHEN
                      (held.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT coalesce(held.claim_key =
                      (xclaim_claim.claim_key COLLATE "default")::text, held.claim_key IS NULL AND (xclaim_claim.claim_key COLLATE "default")::text IS NULL) AND
                      held.claim_expires_at = ends.ends_at FOR NO KEY UPDATE SKIP LOCKED) AS of_end ON true
                    LIMIT 100::INTEGER) UPDATE {schema}.xclaim_message
                    SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                      THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                      _dead::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN NULL
                      ELSE greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
                      (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                      AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                      PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                      97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) END AS anon_1), due_at=(SELECT
                      CASE WHEN (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE
                      WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND
                      xclaim_message.queue <> _dead::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
                      greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
                      (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                      AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                      PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                      97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END
                      AS anon_2), claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
                      claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
                      false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
                      xclaim_message.claim_key ELSE NULL END, last_error=CASE WHEN coalesce(CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
                      CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'error', 1, 4096) END ELSE
                      'lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text) END,
                      last_error_class=CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
                      'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->>
                      'attempt', 1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'error_class') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'error_class', 1, 4096) END ELSE
                      'LeaseExpired' END, failures=(SELECT CASE WHEN coalesce(CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
                      THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
                      CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
                      (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
                      'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN xclaim_message.failures
                      ELSE CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
                      pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
                      (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
                      xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
                      CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC',
                      statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
                      CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 'error_class', 'LeaseExpired',
                      'error', substr('lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1,
                      1000) AS text), 1, 1000))) END AS anon_3), queue=CASE WHEN coalesce(xclaim_message.attempts >=
                      CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
                      _dead::text ELSE xclaim_message.queue END
                    WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
                    FROM lapsed))) AND xclaim_message.status = 'claimed'
                    RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts,
                      xclaim_message.available_at)
            SELECT count(*) INTO _lapsed FROM given_back;
        END IF;
    END IF;
    IF has_function_privilege(to_regprocedure({pass_owed}), 'EXECUTE') THEN
        FOR _call IN 1..10 LOOP
            EXIT WHEN {schema}.xclaim_pass_owed((xclaim_claim.queue COLLATE "default")) < 100;
        END LOOP;
    END IF;
    IF (xclaim_claim.claim_key COLLATE "default") IS NULL THEN
        RETURN QUERY WITH claimed AS (
            WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
                FROM {schema}.xclaim_message AS top
                WHERE top.queue = (xclaim_claim.queue COLLATE "default")::text AND top.status = 'available' AND top.available_at >=
                  '-infinity'
                ORDER BY top.priority DESC
                LIMIT 1) AS priority, 1 AS number
                WHERE NOT (EXISTS (SELECT xclaim_queue.queue
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_claim.queue COLLATE "default")::text AND (xclaim_queue.paused_at IS NOT NULL OR
                  xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
                UNION ALL SELECT (SELECT lower.priority
                FROM {schema}.xclaim_message AS lower
                WHERE lower.queue = (xclaim_claim.queue COLLATE "default")::text AND lower.status = 'available' AND lower.available_at
                  >= '-infinity' AND lower.priority < level.priority
                ORDER BY lower.priority DESC
                LIMIT 1) AS anon_1, level.number + 1 AS anon_2
                FROM level
                WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT
                  picked.id AS id
                FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
                FROM {schema}.xclaim_message AS waiting
                WHERE waiting.queue = (xclaim_claim.queue COLLATE "default")::text AND waiting.status = 'available' AND
                  waiting.priority = level.priority AND waiting.available_at <= statement_timestamp() AND CASE
                  WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
                ORDER BY waiting.available_at, waiting.id
                LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS picked
                UNION ALL SELECT behind.id AS id
                FROM (SELECT other.id AS id
                FROM {schema}.xclaim_message AS other
                WHERE other.queue = (xclaim_claim.queue COLLATE "default")::text AND other.status = 'available' AND other.priority <
                  (SELECT level.priority
                FROM level
                WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at
                  >= '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
                ORDER BY other.priority DESC, other.available_at, other.id
                LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS behind
                LIMIT xclaim_claim.n) UPDATE {schema}.xclaim_message
                SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1
                  ELSE 2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp()
                  + (date_part('epoch', xclaim_claim.lease)::DOUBLE PRECISION * interval '1 second')),
                  claim_token=CAST(encode(substr(sha256(CAST(_secret AS BYTEA) || int8send(xclaim_message.id)),
                  1, 16), 'hex') AS uuid), status='claimed', claimed_by=_claimant::text,
                  claim_key=(xclaim_claim.claim_key COLLATE "default")::text
                WHERE xclaim_message.id = ANY (array((SELECT candidate.id
                FROM candidate))) AND xclaim_message.status = 'available'
                RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
                  xclaim_message.payload, CASE WHEN xclaim_message.headers = '{}' THEN NULL ELSE
                  xclaim_message.headers END AS headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
                  xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
                  xclaim_message.ordering_key)
        SELECT claimed.id, claimed.claim_token, claimed.payload, coalesce(claimed.headers, '{}'),
               claimed.attempts, claimed.max_attempts, claimed.priority, claimed.unique_key,
               claimed.origin_queue, claimed.created_at, claimed.claim_expires_at, claimed.last_error,
               claimed.codec, claimed.ordering_key
          FROM claimed
         ORDER BY claimed.priority DESC, claimed.available_at, claimed.id;
    ELSE
        RETURN QUERY WITH claimed AS (
            WITH RECURSIVE resumable AS MATERIALIZED (SELECT held.id AS id
                FROM {schema}.xclaim_message AS held
                WHERE held.claim_key = (xclaim_claim.claim_key COLLATE "default")::text AND held.queue = (xclaim_claim.queue COLLATE "default")::text AND
                  held.status = 'claimed' AND held.claimed_by <> _claimant::text AND NOT coalesce(held.attempts
                  >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE held.max_attempts END, 1 = 0) AND CASE
                  WHEN (held.consumed_at IS NOT NULL) THEN false ELSE true END
                ORDER BY held.id
                LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED), level(priority, number) AS (SELECT (SELECT
                  top.priority
                FROM {schema}.xclaim_message AS top
                WHERE top.queue = (xclaim_claim.queue COLLATE "default")::text AND top.status = 'available' AND top.available_at >=
                  '-infinity'
                ORDER BY top.priority DESC
                LIMIT 1) AS priority, 1 AS number
                WHERE NOT (EXISTS (SELECT xclaim_queue.queue
                FROM {schema}.xclaim_queue
                WHERE xclaim_queue.queue = (xclaim_claim.queue COLLATE "default")::text AND (xclaim_queue.paused_at IS NOT NULL OR
                  xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)))
                UNION ALL SELECT (SELECT lower.priority
                FROM {schema}.xclaim_message AS lower
                WHERE lower.queue = (xclaim_claim.queue COLLATE "default")::text AND lower.status = 'available' AND lower.available_at
                  >= '-infinity' AND lower.priority < level.priority
                ORDER BY lower.priority DESC
                LIMIT 1) AS anon_1, level.number + 1 AS anon_2
                FROM level
                WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT
                  picked.id AS id
                FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
                FROM {schema}.xclaim_message AS waiting
                WHERE waiting.queue = (xclaim_claim.queue COLLATE "default")::text AND waiting.status = 'available' AND
                  waiting.priority = level.priority AND waiting.available_at <= statement_timestamp() AND CASE
                  WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT (EXISTS (SELECT
                  resumable.id
                FROM resumable))
                ORDER BY waiting.available_at, waiting.id
                LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS picked
                UNION ALL SELECT behind.id AS id
                FROM (SELECT other.id AS id
                FROM {schema}.xclaim_message AS other
                WHERE other.queue = (xclaim_claim.queue COLLATE "default")::text AND other.status = 'available' AND other.priority <
                  (SELECT level.priority
                FROM level
                WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at
                  >= '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END AND NOT
                  (EXISTS (SELECT resumable.id
                FROM resumable))
                ORDER BY other.priority DESC, other.available_at, other.id
                LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS behind
                LIMIT xclaim_claim.n) UPDATE {schema}.xclaim_message
                SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1
                  ELSE 2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp()
                  + (date_part('epoch', xclaim_claim.lease)::DOUBLE PRECISION * interval '1 second')),
                  claim_token=CAST(encode(substr(sha256(CAST(_secret AS BYTEA) || int8send(xclaim_message.id)),
                  1, 16), 'hex') AS uuid), status='claimed', claimed_by=_claimant::text,
                  claim_key=(xclaim_claim.claim_key COLLATE "default")::text
                WHERE xclaim_message.id = ANY (array((SELECT taken.id
                FROM (SELECT resumable.id AS id
                FROM resumable
                UNION ALL SELECT candidate.id AS id
                FROM candidate) AS taken))) AND xclaim_message.status <> 'consumed'
                RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
                  xclaim_message.payload, CASE WHEN xclaim_message.headers = '{}' THEN NULL ELSE
                  xclaim_message.headers END AS headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
                  xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
                  xclaim_message.ordering_key)
        SELECT claimed.id, claimed.claim_token, claimed.payload, coalesce(claimed.headers, '{}'),
               claimed.attempts, claimed.max_attempts, claimed.priority, claimed.unique_key,
               claimed.origin_queue, claimed.created_at, claimed.claim_expires_at, claimed.last_error,
               claimed.codec, claimed.ordering_key
          FROM claimed
         ORDER BY claimed.priority DESC, claimed.available_at, claimed.id;
    END IF;
    IF NOT FOUND THEN
        -- Perhaps the queue has limits.
        RETURN QUERY WITH RECURSIVE setting AS MATERIALIZED (SELECT xclaim_queue.concurrency AS concurrency,
              xclaim_queue.rate AS rate, xclaim_queue.rate_seconds AS rate_seconds, xclaim_queue.burst AS
              burst
            FROM {schema}.xclaim_queue
            WHERE xclaim_queue.queue = (xclaim_claim.queue COLLATE "default")::text AND xclaim_queue.paused_at IS NULL AND
              (xclaim_queue.concurrency IS NOT NULL OR xclaim_queue.rate IS NOT NULL)), of_a_claim AS
              MATERIALIZED (SELECT xclaim_slot.slot AS slot
            FROM setting JOIN {schema}.xclaim_slot ON xclaim_slot.queue = (xclaim_claim.queue COLLATE "default")::text AND
              xclaim_slot.kind = 'concurrency' JOIN {schema}.xclaim_message AS held ON held.id =
              xclaim_slot.message_id
            WHERE xclaim_slot.slot < setting.concurrency AND held.claimed_at = xclaim_slot.taken_at AND
              held.queue = (xclaim_claim.queue COLLATE "default")::text AND held.status = 'claimed'), seen_free AS MATERIALIZED
              (SELECT xclaim_slot.slot AS slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at
              AS taken_at
            FROM setting JOIN {schema}.xclaim_slot ON xclaim_slot.queue = (xclaim_claim.queue COLLATE "default")::text AND
              xclaim_slot.kind = 'concurrency'
            WHERE xclaim_slot.slot < setting.concurrency AND NOT (EXISTS (SELECT of_a_claim.slot
            FROM of_a_claim
            WHERE of_a_claim.slot = xclaim_slot.slot))), others AS MATERIALIZED (SELECT greatest((SELECT
              count(*) AS count_2
            FROM (SELECT 1 AS one
            FROM {schema}.xclaim_message AS claimed_one
            WHERE claimed_one.queue = (xclaim_claim.queue COLLATE "default")::text AND claimed_one.claim_expires_at IS NOT NULL
              AND claimed_one.status = 'claimed'
            ORDER BY claimed_one.claim_expires_at
            LIMIT coalesce((SELECT setting.concurrency
            FROM setting), 0)) AS claimed_ones) - (SELECT count(*) AS count_3
            FROM of_a_claim), 0) AS stray), free AS MATERIALIZED (SELECT slot_of_ours.slot AS slot
            FROM seen_free JOIN {schema}.xclaim_slot AS slot_of_ours ON slot_of_ours.queue =
              (xclaim_claim.queue COLLATE "default")::text AND slot_of_ours.kind = 'concurrency' AND slot_of_ours.slot =
              seen_free.slot AND coalesce(slot_of_ours.message_id = seen_free.message_id,
              slot_of_ours.message_id IS NULL AND seen_free.message_id IS NULL) AND
              coalesce(slot_of_ours.taken_at = seen_free.taken_at, slot_of_ours.taken_at IS NULL AND
              seen_free.taken_at IS NULL)
            ORDER BY slot_of_ours.slot
            LIMIT xclaim_claim.n + (SELECT others.stray
            FROM others) FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), seen_due AS MATERIALIZED (SELECT
              xclaim_slot.slot AS slot, xclaim_slot.message_id AS message_id, xclaim_slot.taken_at AS
              taken_at
            FROM setting JOIN {schema}.xclaim_slot ON xclaim_slot.queue = (xclaim_claim.queue COLLATE "default")::text AND
              xclaim_slot.kind = 'rate'
            WHERE xclaim_slot.slot < setting.burst AND (xclaim_slot.taken_at IS NULL OR xclaim_slot.taken_at
              <= (statement_timestamp() + (((- ((CAST(setting.burst AS DOUBLE PRECISION) *
              setting.rate_seconds) / setting.rate))) * interval '1 second')))), due AS MATERIALIZED (SELECT
              slot_of_ours.slot AS slot
            FROM seen_due JOIN {schema}.xclaim_slot AS slot_of_ours ON slot_of_ours.queue =
              (xclaim_claim.queue COLLATE "default")::text AND slot_of_ours.kind = 'rate' AND slot_of_ours.slot = seen_due.slot
              AND coalesce(slot_of_ours.message_id = seen_due.message_id, slot_of_ours.message_id IS NULL
              AND seen_due.message_id IS NULL) AND coalesce(slot_of_ours.taken_at = seen_due.taken_at,
              slot_of_ours.taken_at IS NULL AND seen_due.taken_at IS NULL)
            ORDER BY slot_of_ours.slot
            LIMIT xclaim_claim.n FOR NO KEY UPDATE OF slot_of_ours SKIP LOCKED), room AS MATERIALIZED (SELECT
              least(xclaim_claim.n, CASE WHEN (setting.concurrency IS NOT NULL) THEN (SELECT count(*) AS
              count_1
            FROM free) - (SELECT others.stray
            FROM others) ELSE xclaim_claim.n END, CASE WHEN (setting.rate IS NOT NULL) THEN (SELECT count(*)
              AS count_4
            FROM due) ELSE xclaim_claim.n END) AS number
            FROM setting), level(priority, number) AS (SELECT (SELECT top.priority
            FROM {schema}.xclaim_message AS top
            WHERE top.queue = (xclaim_claim.queue COLLATE "default")::text AND top.status = 'available' AND top.available_at >=
              '-infinity'
            ORDER BY top.priority DESC
            LIMIT 1) AS priority, 1 AS number
            WHERE coalesce((SELECT room.number
            FROM room), 0) > 0
            UNION ALL SELECT (SELECT lower.priority
            FROM {schema}.xclaim_message AS lower
            WHERE lower.queue = (xclaim_claim.queue COLLATE "default")::text AND lower.status = 'available' AND lower.available_at
              >= '-infinity' AND lower.priority < level.priority
            ORDER BY lower.priority DESC
            LIMIT 1) AS anon_1, level.number + 1 AS anon_2
            FROM level
            WHERE level.priority IS NOT NULL AND level.number < 32), candidate AS MATERIALIZED (SELECT
              picked.id AS id
            FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
            FROM {schema}.xclaim_message AS waiting
            WHERE waiting.queue = (xclaim_claim.queue COLLATE "default")::text AND waiting.status = 'available' AND
              waiting.priority = level.priority AND waiting.available_at <= statement_timestamp() AND CASE
              WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
            ORDER BY waiting.available_at, waiting.id
            LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS picked
            UNION ALL SELECT behind.id AS id
            FROM (SELECT other.id AS id
            FROM {schema}.xclaim_message AS other
            WHERE other.queue = (xclaim_claim.queue COLLATE "default")::text AND other.status = 'available' AND other.priority <
              (SELECT level.priority
            FROM level
            WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at
              >= '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
            ORDER BY other.priority DESC, other.available_at, other.id
            LIMIT xclaim_claim.n FOR NO KEY UPDATE SKIP LOCKED) AS behind
            LIMIT xclaim_claim.n), chosen AS MATERIALIZED (SELECT candidate.id AS id
            FROM candidate
            LIMIT greatest((SELECT room.number
            FROM room), 0)), claimed AS (UPDATE {schema}.xclaim_message
            SET attempts=CASE WHEN (xclaim_message.attempts < 2147483647) THEN xclaim_message.attempts + 1
              ELSE 2147483647 END, claimed_at=statement_timestamp(), claim_expires_at=(statement_timestamp()
              + (date_part('epoch', xclaim_claim.lease)::DOUBLE PRECISION * interval '1 second')),
              claim_token=CAST(encode(substr(sha256(CAST(_secret AS BYTEA) || int8send(xclaim_message.id)),
              1, 16), 'hex') AS uuid), status='claimed', claimed_by=_claimant::text,
              claim_key=(xclaim_claim.claim_key COLLATE "default")::text
            WHERE xclaim_message.id = ANY (array((SELECT chosen.id
            FROM chosen))) AND xclaim_message.status = 'available'
            RETURNING xclaim_message.id, xclaim_message.origin_queue, xclaim_message.priority,
              xclaim_message.payload, CASE WHEN xclaim_message.headers = '{}' THEN NULL ELSE
              xclaim_message.headers END AS headers, xclaim_message.unique_key, xclaim_message.attempts,
              xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
              xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.last_error,
              xclaim_message.last_error_class, xclaim_message.claim_token, xclaim_message.codec,
              xclaim_message.ordering_key), taken AS (UPDATE {schema}.xclaim_slot
            SET message_id=pair.id, taken_at=statement_timestamp()
            FROM (SELECT 'concurrency' AS kind, free_one.slot AS slot, numbered.id AS id
            FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
            FROM claimed) AS numbered JOIN (SELECT free.slot AS slot, row_number() OVER (ORDER BY free.slot)
              AS number
            FROM free) AS free_one ON free_one.number = numbered.number
            UNION ALL SELECT 'rate' AS kind, due_one.slot AS slot, numbered.id AS id
            FROM (SELECT claimed.id AS id, row_number() OVER (ORDER BY claimed.id) AS number
            FROM claimed) AS numbered JOIN (SELECT due.slot AS slot, row_number() OVER (ORDER BY due.slot)
              AS number
            FROM due) AS due_one ON due_one.number = numbered.number) AS pair
            WHERE xclaim_slot.queue = (xclaim_claim.queue COLLATE "default")::text AND xclaim_slot.kind = pair.kind AND
              xclaim_slot.slot = pair.slot
            RETURNING xclaim_slot.slot)
        SELECT claimed.id, claimed.claim_token, claimed.payload, coalesce(claimed.headers, '{}'),
               claimed.attempts, claimed.max_attempts, claimed.priority, claimed.unique_key,
               claimed.origin_queue, claimed.created_at, claimed.claim_expires_at, claimed.last_error,
               claimed.codec, claimed.ordering_key
          FROM claimed
         ORDER BY claimed.priority DESC, claimed.available_at, claimed.id;
    END IF;
END
$$;

-- Mark the message consumed. XC001 if the claim is no longer held: then the transaction fails,
-- and what it has done is undone.
CREATE OR REPLACE FUNCTION {schema}.xclaim_ack(id bigint, token uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _id bigint;
BEGIN
    UPDATE {schema}.xclaim_message
        SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL,
          status='consumed', claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
        WHERE xclaim_message.id = xclaim_ack.id::BIGINT AND xclaim_message.claim_token =
          xclaim_ack.token::uuid
        RETURNING xclaim_message.id INTO _id;
    IF NOT FOUND THEN
        RAISE 'the claim of message % is no longer held', xclaim_ack.id
            USING ERRCODE = 'XC001',
            HINT = 'another has it by now, or it was settled: undo what you did for it';
    END IF;
END
$$;

-- Mark the messages consumed whose claims are still held, and return their ids: what is not
-- among them was lost.
CREATE OR REPLACE FUNCTION {schema}.xclaim_ack_many(ids bigint[], tokens uuid[])
RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _ids bigint[];
    _tokens uuid[];
BEGIN
    IF cardinality(xclaim_ack_many.ids) IS DISTINCT FROM cardinality(xclaim_ack_many.tokens) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            '%s tokens for %s ids', coalesce(cardinality(xclaim_ack_many.tokens)::text, 'NULL'),
            coalesce(cardinality(xclaim_ack_many.ids)::text, 'NULL')),
            HINT = 'pass one token for each id';
    END IF;
    -- Two batches lock their rows in the same order.
    SELECT array_agg(given.id ORDER BY given.id), array_agg(given.token ORDER BY given.id)
      INTO _ids, _tokens
      FROM unnest(xclaim_ack_many.ids, xclaim_ack_many.tokens) AS given (id, token);
    RETURN QUERY UPDATE {schema}.xclaim_message
        SET claim_expires_at=NULL, consumed_at=statement_timestamp(), claim_token=NULL,
          status='consumed', claimed_by=NULL, consumed_by=xclaim_message.claimed_by, claim_key=NULL
        FROM unnest(_ids::BIGINT[], _tokens::uuid[]) WITH ORDINALITY AS item(id, token, position)
        WHERE xclaim_message.id = item.id AND xclaim_message.claim_token = item.token
        RETURNING xclaim_message.id;
END
$$;

-- Give the message back. With an error the attempt has failed: the message comes back after a
-- growing pause, or after delay, and is a dead letter when its attempts are used up. Its
-- available_at is NULL if it stands in the line of its ordering_key again. XC001 if the claim is
-- no longer held.
CREATE OR REPLACE FUNCTION {schema}.xclaim_release(
    id bigint, token uuid, delay interval DEFAULT NULL, error text DEFAULT NULL,
    counts boolean DEFAULT true, error_class text DEFAULT NULL
) RETURNS TABLE (queue text, status text, attempts integer, available_at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _row record;
    _drawn integer := floor(random() * 1000000);
    _error text COLLATE "default" := left((xclaim_release.error COLLATE "default"), 10000);
BEGIN
    IF date_part('epoch', xclaim_release.delay) NOT BETWEEN 0 AND 316224000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'delay must lie between 0 and 3660 days, not %L', xclaim_release.delay);
    END IF;
    IF coalesce(xclaim_release.counts, true) THEN
        IF _error IS NULL AND xclaim_release.delay IS NULL THEN
            UPDATE {schema}.xclaim_message
                SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                  THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                  (CASE WHEN xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE
                  xclaim_message.queue || '.dead' END)::text) THEN statement_timestamp() WHEN
                  (xclaim_message.available_at IS NULL) THEN NULL ELSE xclaim_message.available_at END AS
                  anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
                  coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
                  xclaim_message.available_at ELSE xclaim_message.due_at END AS anon_2), claimed_at=NULL,
                  claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE
                  WHEN coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END,
                  queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN
                  NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text ELSE xclaim_message.queue END
                WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
                  xclaim_release.token::uuid
                RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
                  xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
                  xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
                  xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
                  xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
                  xclaim_message.ordering_key INTO _row;
        ELSIF _error IS NULL THEN
            UPDATE {schema}.xclaim_message
                SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                  THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                  (CASE WHEN xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE
                  xclaim_message.queue || '.dead' END)::text) THEN statement_timestamp() WHEN
                  (xclaim_message.available_at IS NULL) THEN NULL ELSE statement_timestamp() +
                  (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval '1 second') END AS anon_1),
                  due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
                  coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
                  statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval
                  '1 second') ELSE xclaim_message.due_at END AS anon_2), claimed_at=NULL, claim_expires_at=NULL,
                  claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE WHEN
                  coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END,
                  queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN
                  NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text ELSE xclaim_message.queue END
                WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
                  xclaim_release.token::uuid
                RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
                  xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
                  xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
                  xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
                  xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
                  xclaim_message.ordering_key INTO _row;
        ELSIF xclaim_release.delay IS NULL THEN
            UPDATE {schema}.xclaim_message
                SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                  THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                  (CASE WHEN xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE
                  xclaim_message.queue || '.dead' END)::text) THEN statement_timestamp() WHEN
                  (xclaim_message.available_at IS NULL) THEN NULL ELSE greatest(statement_timestamp(),
                  least(statement_timestamp(), statement_timestamp()) +
                  (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                  AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                  PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                  97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) END AS anon_1), due_at=(SELECT
                  CASE WHEN (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE
                  WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND
                  xclaim_message.queue <> (CASE WHEN xclaim_message.queue LIKE '%.dead' THEN
                  xclaim_message.queue ELSE xclaim_message.queue || '.dead' END)::text) THEN NULL WHEN
                  (xclaim_message.available_at IS NULL) THEN greatest(statement_timestamp(),
                  least(statement_timestamp(), statement_timestamp()) +
                  (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
                  AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
                  PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
                  97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END
                  AS anon_2), claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
                  claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
                  false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
                  xclaim_message.claim_key ELSE NULL END, last_error=_error::text,
                  last_error_class=left((xclaim_release.error_class COLLATE "default"), 200)::text, failures=(SELECT CASE WHEN NOT
                  coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
                  pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
                  (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
                  xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
                  CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC',
                  statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
                  CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 'error_class',
                  left((xclaim_release.error_class COLLATE "default"), 200)::text, 'error', substr(_error::text, 1, 1000))) AS anon_3),
                  queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN
                  NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text ELSE xclaim_message.queue END
                WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
                  xclaim_release.token::uuid
                RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
                  xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
                  xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
                  xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
                  xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
                  xclaim_message.ordering_key INTO _row;
        ELSE
            UPDATE {schema}.xclaim_message
                SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
                  THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
                  (CASE WHEN xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE
                  xclaim_message.queue || '.dead' END)::text) THEN statement_timestamp() WHEN
                  (xclaim_message.available_at IS NULL) THEN NULL ELSE statement_timestamp() +
                  (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval '1 second') END AS anon_1),
                  due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL AND
                  coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <> (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
                  statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval
                  '1 second') ELSE xclaim_message.due_at END AS anon_2), claimed_at=NULL, claim_expires_at=NULL,
                  claim_token=NULL, status='available', claimed_by=NULL, claim_key=CASE WHEN
                  coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE
                  xclaim_message.max_attempts END, 1 = 0) THEN xclaim_message.claim_key ELSE NULL END,
                  last_error=_error::text, last_error_class=left((xclaim_release.error_class COLLATE "default"), 200)::text,
                  failures=(SELECT CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
                  pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
                  (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
                  xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
                  CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC',
                  statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
                  CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 'error_class',
                  left((xclaim_release.error_class COLLATE "default"), 200)::text, 'error', substr(_error::text, 1, 1000))) AS anon_3),
                  queue=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN THEN
                  NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN (CASE WHEN
                  xclaim_message.queue LIKE '%.dead' THEN xclaim_message.queue ELSE xclaim_message.queue ||
                  '.dead' END)::text ELSE xclaim_message.queue END
                WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
                  xclaim_release.token::uuid
                RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
                  xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
                  xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
                  xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
                  xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
                  xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
                  xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
                  xclaim_message.ordering_key INTO _row;
        END IF;
    ELSIF _error IS NULL AND xclaim_release.delay IS NULL THEN
        UPDATE {schema}.xclaim_message
            SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0
              END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
              claimed_by=NULL, claim_key=NULL
            WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
              xclaim_release.token::uuid
            RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
              xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
              xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
              xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
              xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
              xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
              xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
              xclaim_message.ordering_key INTO _row;
    ELSIF _error IS NULL THEN
        UPDATE {schema}.xclaim_message
            SET available_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
              statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval
              '1 second') END AS anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL)
              THEN statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION *
              interval '1 second') ELSE xclaim_message.due_at END AS anon_2), attempts=CASE WHEN
              (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END, claimed_at=NULL,
              claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=NULL
            WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
              xclaim_release.token::uuid
            RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
              xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
              xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
              xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
              xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
              xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
              xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
              xclaim_message.ordering_key INTO _row;
    ELSIF xclaim_release.delay IS NULL THEN
        UPDATE {schema}.xclaim_message
            SET attempts=CASE WHEN (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0
              END, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
              claimed_by=NULL, claim_key=NULL, last_error=_error::text,
              last_error_class=left((xclaim_release.error_class COLLATE "default"), 200)::text
            WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
              xclaim_release.token::uuid
            RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
              xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
              xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
              xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
              xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
              xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
              xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
              xclaim_message.ordering_key INTO _row;
    ELSE
        UPDATE {schema}.xclaim_message
            SET available_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL) THEN NULL ELSE
              statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION * interval
              '1 second') END AS anon_1), due_at=(SELECT CASE WHEN (xclaim_message.available_at IS NULL)
              THEN statement_timestamp() + (date_part('epoch', xclaim_release.delay)::DOUBLE PRECISION *
              interval '1 second') ELSE xclaim_message.due_at END AS anon_2), attempts=CASE WHEN
              (xclaim_message.attempts > 1) THEN xclaim_message.attempts - 1 ELSE 0 END, claimed_at=NULL,
              claim_expires_at=NULL, claim_token=NULL, status='available', claimed_by=NULL, claim_key=NULL,
              last_error=_error::text, last_error_class=left((xclaim_release.error_class COLLATE "default"), 200)::text
            WHERE xclaim_message.id = xclaim_release.id::BIGINT AND xclaim_message.claim_token =
              xclaim_release.token::uuid
            RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.origin_queue,
              xclaim_message.status, xclaim_message.priority, xclaim_message.payload,
              xclaim_message.headers, xclaim_message.unique_key, xclaim_message.attempts,
              xclaim_message.max_attempts, xclaim_message.created_at, xclaim_message.available_at,
              xclaim_message.claimed_at, xclaim_message.claim_expires_at, xclaim_message.consumed_at,
              xclaim_message.claimed_by, xclaim_message.consumed_by, xclaim_message.claim_key,
              xclaim_message.last_error, xclaim_message.last_error_class, xclaim_message.codec,
              xclaim_message.ordering_key INTO _row;
    END IF;
    IF NOT FOUND THEN
        RAISE 'the claim of message % is no longer held', xclaim_release.id
            USING ERRCODE = 'XC001',
            HINT = 'another has it by now, or it was settled: undo what you did for it';
    END IF;
    IF _row.ordering_key IS NOT NULL AND _row.available_at IS NOT NULL
       AND _row.queue = _row.origin_queue THEN
        -- A trigger may have given its turn to another one of its line.
        IF EXISTS (SELECT FROM {schema}.xclaim_message AS released
                    WHERE released.id = xclaim_release.id AND released.status = 'available'
                      AND released.available_at IS NULL) THEN
            _row.available_at := NULL;
        END IF;
    END IF;
    RETURN QUERY SELECT _row.queue, _row.status, _row.attempts, _row.available_at;
END
$$;

-- Let the lease end so long from now, and return when. XC001 if the claim is no longer held.
CREATE OR REPLACE FUNCTION {schema}.xclaim_extend(
    id bigint, token uuid, lease interval DEFAULT '5 minutes'
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _expires_at timestamptz;
BEGIN
    IF coalesce(date_part('epoch', xclaim_extend.lease) NOT BETWEEN 0 AND 316224000, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'lease must lie between 0 and 3660 days, not %L', xclaim_extend.lease);
    END IF;
    UPDATE {schema}.xclaim_message
        SET claim_expires_at=(statement_timestamp() + (date_part('epoch', xclaim_extend.lease)::DOUBLE
          PRECISION * interval '1 second'))
        WHERE xclaim_message.id = xclaim_extend.id::BIGINT AND xclaim_message.claim_token =
          xclaim_extend.token::uuid
        RETURNING xclaim_message.claim_expires_at INTO _expires_at;
    IF NOT FOUND THEN
        RAISE 'the claim of message % is no longer held', xclaim_extend.id
            USING ERRCODE = 'XC001',
            HINT = 'another has it by now, or it was settled: undo what you did for it';
    END IF;
    RETURN _expires_at;
END
$$;

-- Give back up to n messages whose lease ran out, and return how many. They have failed; those
-- whose attempts are used up become dead letters.
CREATE OR REPLACE FUNCTION {schema}.xclaim_expire(queue text, n integer DEFAULT 1000)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _dead text COLLATE "default" := CASE WHEN (xclaim_expire.queue COLLATE "default") LIKE '%.dead' THEN (xclaim_expire.queue COLLATE "default") ELSE (xclaim_expire.queue COLLATE "default") || '.dead' END;
    _drawn integer := floor(random() * 1000000);
    _count bigint;
BEGIN
    IF coalesce(octet_length((xclaim_expire.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_expire.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_expire.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_expire.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_expire.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_expire.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF coalesce(xclaim_expire.n, 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must lie between 1 and 1000000, not %L', xclaim_expire.n);
    END IF;
    WITH given_back AS (
        WITH RECURSIVE ends(ends_at) AS (SELECT (SELECT first_end.claim_expires_at
            FROM {schema}.xclaim_message AS first_end
            WHERE first_end.queue = (xclaim_expire.queue COLLATE "default")::text AND first_end.claim_expires_at <=
              statement_timestamp() AND first_end.status = 'claimed' AND CASE WHEN (first_end.consumed_at IS
              NOT NULL) THEN false ELSE true END
            ORDER BY first_end.claim_expires_at
            LIMIT 1) AS ends_at
            UNION ALL SELECT (SELECT later_end.claim_expires_at
            FROM {schema}.xclaim_message AS later_end
            WHERE later_end.queue = (xclaim_expire.queue COLLATE "default")::text AND later_end.claim_expires_at <=
              statement_timestamp() AND later_end.claim_expires_at > ends.ends_at AND later_end.status =
              'claimed' AND CASE WHEN (later_end.consumed_at IS NOT NULL) THEN false ELSE true END
            ORDER BY later_end.claim_expires_at
            LIMIT 1) AS anon_4
            FROM ends
            WHERE ends.ends_at IS NOT NULL), lapsed AS MATERIALIZED (SELECT of_end.id AS id
            FROM ends JOIN LATERAL (SELECT held.id AS id
            FROM {schema}.xclaim_message AS held
            WHERE held.queue = (xclaim_expire.queue COLLATE "default")::text AND held.status = 'claimed' AND CASE WHEN
              (held.consumed_at IS NOT NULL) THEN false ELSE true END AND held.claim_expires_at =
              ends.ends_at FOR NO KEY UPDATE SKIP LOCKED) AS of_end ON true
            LIMIT xclaim_expire.n::INTEGER) UPDATE {schema}.xclaim_message
            SET available_at=(SELECT CASE WHEN (coalesce(xclaim_message.attempts >= CASE WHEN false::BOOLEAN
              THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND xclaim_message.queue <>
              _dead::text) THEN statement_timestamp() WHEN (xclaim_message.available_at IS NULL) THEN NULL
              ELSE greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
              (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
              AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
              PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
              97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) END AS anon_1), due_at=(SELECT
              CASE WHEN (xclaim_message.available_at IS NULL AND coalesce(xclaim_message.attempts >= CASE
              WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) AND
              xclaim_message.queue <> _dead::text) THEN NULL WHEN (xclaim_message.available_at IS NULL) THEN
              greatest(statement_timestamp(), least(statement_timestamp(), xclaim_message.claimed_at) +
              (CAST(CAST('[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0]'::text
              AS jsonb) ->> (greatest(least(xclaim_message.attempts, 11::INTEGER), 1) - 1) AS DOUBLE
              PRECISION) * (1.0 - (0.25::DOUBLE PRECISION * ((((xclaim_message.id % 97) + _drawn::INTEGER) %
              97) / CAST(97.0 AS DOUBLE PRECISION)))) * interval '1 second')) ELSE xclaim_message.due_at END
              AS anon_2), claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL, status='available',
              claimed_by=NULL, claim_key=CASE WHEN coalesce(xclaim_message.attempts >= CASE WHEN
              false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
              xclaim_message.claim_key ELSE NULL END, last_error=CASE WHEN coalesce(CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
              THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
              CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
              'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
              CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'error') = ANY (ARRAY['string', 'number']))
              THEN substr((xclaim_message.failures -> -1) ->> 'error', 1, 4096) END ELSE
              'lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text) END,
              last_error_class=CASE WHEN coalesce(CASE WHEN (jsonb_typeof((xclaim_message.failures -> -1) ->
              'attempt') = ANY (ARRAY['string', 'number'])) THEN substr((xclaim_message.failures -> -1) ->>
              'attempt', 1, 4096) END = CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
              'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
              CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'error_class') = ANY (ARRAY['string',
              'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'error_class', 1, 4096) END ELSE
              'LeaseExpired' END, failures=(SELECT CASE WHEN coalesce(CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'attempt') = ANY (ARRAY['string', 'number']))
              THEN substr((xclaim_message.failures -> -1) ->> 'attempt', 1, 4096) END =
              CAST(CAST(xclaim_message.attempts AS INTEGER) AS text) AND CASE WHEN
              (jsonb_typeof((xclaim_message.failures -> -1) -> 'claimed_by') = ANY (ARRAY['string',
              'number'])) THEN substr((xclaim_message.failures -> -1) ->> 'claimed_by', 1, 4096) END =
              CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 1 = 0) THEN xclaim_message.failures
              ELSE CASE WHEN NOT coalesce(jsonb_typeof(xclaim_message.failures) = 'array' AND
              pg_column_size(xclaim_message.failures) < 524288, false) THEN CAST('[]' AS jsonb) WHEN
              (jsonb_array_length(xclaim_message.failures) >= 20) THEN xclaim_message.failures - 0 ELSE
              xclaim_message.failures END || jsonb_build_array(jsonb_build_object('attempt',
              CAST(xclaim_message.attempts AS INTEGER), 'at', to_char(timezone('UTC',
              statement_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'claimed_by',
              CAST(substr(xclaim_message.claimed_by, 1, 1000) AS text), 'error_class', 'LeaseExpired',
              'error', substr('lease expired, claimed by ' || CAST(substr(xclaim_message.claimed_by, 1,
              1000) AS text), 1, 1000))) END AS anon_3), queue=CASE WHEN coalesce(xclaim_message.attempts >=
              CASE WHEN false::BOOLEAN THEN NULL::INTEGER ELSE xclaim_message.max_attempts END, 1 = 0) THEN
              _dead::text ELSE xclaim_message.queue END
            WHERE xclaim_message.id = ANY (array((SELECT lapsed.id
            FROM lapsed))) AND xclaim_message.status = 'claimed'
            RETURNING xclaim_message.id, xclaim_message.queue, xclaim_message.attempts,
              xclaim_message.available_at)
    SELECT count(*) INTO _count FROM given_back;
    IF has_function_privilege(to_regprocedure({pass_owed}), 'EXECUTE') THEN
        FOR _call IN 1..10 LOOP
            EXIT WHEN {schema}.xclaim_pass_owed((xclaim_expire.queue COLLATE "default")) < 100;
        END LOOP;
    END IF;
    RETURN _count;
END
$$;

-- Move up to n dead letters of the queue back to it, or to another, with no attempts counted;
-- return how many.
CREATE OR REPLACE FUNCTION {schema}.xclaim_redrive(
    queue text, to_queue text DEFAULT NULL, n integer DEFAULT 1000
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _dead text COLLATE "default" := CASE WHEN (xclaim_redrive.queue COLLATE "default") LIKE '%.dead' THEN (xclaim_redrive.queue COLLATE "default") ELSE (xclaim_redrive.queue COLLATE "default") || '.dead' END;
    _queue text COLLATE "default" := coalesce((xclaim_redrive.to_queue COLLATE "default"), left(_dead, -5));
    _count bigint;
BEGIN
    IF coalesce(octet_length((xclaim_redrive.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_redrive.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_redrive.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_redrive.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_redrive.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_redrive.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF coalesce(xclaim_redrive.n, 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must lie between 1 and 1000000, not %L', xclaim_redrive.n);
    END IF;
    IF coalesce(octet_length(_queue), 0) NOT BETWEEN 1
           AND 200 + 5 * (_queue LIKE '%.dead')::integer
       OR _queue ~ '^[[:space:]]*$' OR _queue ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND _queue ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left(_queue, 60))::text, 'NULL'));
    END IF;
    IF _queue LIKE '%.dead' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must not end with .dead: only failing messages enter %s',
            to_json(left(_queue, 60)));
    END IF;
    WITH redriven AS (
        WITH dead AS MATERIALIZED (SELECT letter.id AS id
            FROM {schema}.xclaim_message AS letter
            WHERE letter.queue = _dead::text AND letter.status = 'available' AND letter.available_at >=
              '-infinity' AND CASE WHEN (letter.consumed_at IS NOT NULL) THEN false ELSE true END
            ORDER BY letter.priority DESC, letter.available_at, letter.id
            LIMIT xclaim_redrive.n::INTEGER FOR NO KEY UPDATE SKIP LOCKED) UPDATE {schema}.xclaim_message
            SET available_at=(SELECT CASE WHEN (xclaim_message.ordering_key IS NOT NULL AND
              xclaim_message.origin_queue = _queue::text) THEN NULL ELSE statement_timestamp() END AS
              anon_1), attempts=0, claimed_at=NULL, claim_expires_at=NULL, claim_token=NULL,
              status='available', claimed_by=NULL, claim_key=NULL, queue=_queue::text
            WHERE xclaim_message.id = ANY (array((SELECT dead.id
            FROM dead))) AND xclaim_message.status = 'available'
            RETURNING xclaim_message.id)
    SELECT count(*) INTO _count FROM redriven;
    RETURN _count;
END
$$;

-- Delete the messages under these keys that nobody has claimed, also dead letters, and return
-- how many.
CREATE OR REPLACE FUNCTION {schema}.xclaim_withdraw(queue text, unique_keys text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _bytes integer;
    _count bigint;
BEGIN
    IF coalesce(octet_length((xclaim_withdraw.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_withdraw.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_withdraw.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_withdraw.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_withdraw.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_withdraw.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    SELECT octet_length(key) INTO _bytes FROM unnest((xclaim_withdraw.unique_keys COLLATE "default")) AS given (key)
     WHERE octet_length(key) NOT BETWEEN 1 AND 1000 LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'unique_key must have 1 to 1000 bytes, not %s', _bytes);
    END IF;
    IF has_table_privilege({message}, 'DELETE') THEN
        WITH withdrawn AS (
            DELETE
                FROM {schema}.xclaim_message
                WHERE xclaim_message.origin_queue = (xclaim_withdraw.queue COLLATE "default")::text AND xclaim_message.unique_key = ANY
                  (array((SELECT item.unique_key
                FROM unnest((xclaim_withdraw.unique_keys COLLATE "default")::text[]) WITH ORDINALITY AS item(unique_key, position)))) AND
                  xclaim_message.status = 'available'
                RETURNING xclaim_message.id)
        SELECT count(*) INTO _count FROM withdrawn;
    ELSE
        WITH found AS MATERIALIZED (SELECT xclaim_message.id AS id
            FROM {schema}.xclaim_message
            WHERE xclaim_message.origin_queue = (xclaim_withdraw.queue COLLATE "default")::text AND xclaim_message.unique_key = ANY
              (array((SELECT item.unique_key
            FROM unnest((xclaim_withdraw.unique_keys COLLATE "default")::text[]) WITH ORDINALITY AS item(unique_key, position)))) AND
              xclaim_message.status = 'available'), deleted AS MATERIALIZED (SELECT
              unnest({schema}.xclaim_delete(array((SELECT found.id
            FROM found)), CAST('available' AS text))) AS id) SELECT count(*) AS count_1
            FROM (SELECT found.id AS id
            FROM found
            WHERE found.id = ANY (array((SELECT deleted.id
            FROM deleted)))) AS answered INTO _count;
    END IF;
    RETURN _count;
END
$$;

-- Delete up to n messages of the queue, or of its dead letters, that were consumed so long ago,
-- and return how many. Call it again while it returns n.
CREATE OR REPLACE FUNCTION {schema}.xclaim_prune(
    queue text, older_than interval, n integer DEFAULT 1000
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _queue text COLLATE "default";
    _part bigint;
    _count bigint := 0;
BEGIN
    IF coalesce(octet_length((xclaim_prune.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_prune.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_prune.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_prune.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_prune.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_prune.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF coalesce(xclaim_prune.n, 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must lie between 1 and 1000000, not %L', xclaim_prune.n);
    END IF;
    IF coalesce(date_part('epoch', xclaim_prune.older_than) NOT BETWEEN 0 AND 316224000, true) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'older_than must lie between 0 and 3660 days, not %L', xclaim_prune.older_than);
    END IF;
    FOREACH _queue IN ARRAY ARRAY[(xclaim_prune.queue COLLATE "default"), CASE WHEN (xclaim_prune.queue COLLATE "default") LIKE '%.dead' THEN (xclaim_prune.queue COLLATE "default") ELSE (xclaim_prune.queue COLLATE "default") || '.dead' END] LOOP
        EXIT WHEN _count >= xclaim_prune.n;
        IF has_table_privilege({message}, 'DELETE') THEN
            WITH pruned_messages AS (
                WITH pruned AS MATERIALIZED (SELECT "old".id AS id
                    FROM {schema}.xclaim_message AS "old"
                    WHERE "old".queue = _queue::text AND "old".status = 'consumed' AND "old".consumed_at <=
                      (statement_timestamp() + (((- CAST(date_part('epoch', xclaim_prune.older_than)::DOUBLE PRECISION
                      AS FLOAT))) * interval '1 second'))
                    ORDER BY "old".consumed_at
                    LIMIT xclaim_prune.n-_count::INTEGER FOR NO KEY UPDATE SKIP LOCKED) DELETE
                    FROM {schema}.xclaim_message
                    WHERE xclaim_message.id = ANY (array((SELECT pruned.id
                    FROM pruned))) AND xclaim_message.status = 'consumed'
                    RETURNING xclaim_message.id)
            SELECT count(*) INTO _part FROM pruned_messages;
        ELSE
            WITH found AS MATERIALIZED (SELECT "old".id AS id
                FROM {schema}.xclaim_message AS "old"
                WHERE "old".queue = _queue::text AND "old".status = 'consumed' AND "old".consumed_at <=
                  (statement_timestamp() + (((- CAST(date_part('epoch', xclaim_prune.older_than)::DOUBLE PRECISION
                  AS FLOAT))) * interval '1 second'))
                ORDER BY "old".consumed_at
                LIMIT xclaim_prune.n-_count::INTEGER), deleted AS MATERIALIZED (SELECT
                  unnest({schema}.xclaim_delete(array((SELECT found.id
                FROM found)), CAST('consumed' AS text))) AS id) SELECT count(*) AS count_1
                FROM (SELECT found.id AS id
                FROM found
                WHERE found.id = ANY (array((SELECT deleted.id
                FROM deleted)))) AS answered INTO _part;
        END IF;
        _count := _count + _part;
    END LOOP;
    RETURN _count;
END
$$;

-- Return the messages that would be claimed next, without claiming them.
CREATE OR REPLACE FUNCTION {schema}.xclaim_peek(queue text, n integer DEFAULT 1) RETURNS TABLE (
    id bigint, payload jsonb, headers jsonb, attempts integer, max_attempts integer,
    priority smallint, unique_key text, origin_queue text, created_at timestamptz,
    available_at timestamptz, last_error text, codec text, ordering_key text
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    IF coalesce(octet_length((xclaim_peek.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_peek.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_peek.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_peek.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_peek.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_peek.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    IF coalesce(xclaim_peek.n, 0) NOT BETWEEN 1 AND 1000000 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('n must lie between 1 and 1000000, not %L', xclaim_peek.n);
    END IF;
    RETURN QUERY
        SELECT message.id, message.payload, message.headers, message.attempts,
               message.max_attempts, message.priority, message.unique_key, message.origin_queue,
               message.created_at, message.available_at, message.last_error, message.codec,
               message.ordering_key
          FROM (
            WITH RECURSIVE level(priority, number) AS (SELECT (SELECT top.priority
                FROM {schema}.xclaim_message AS top
                WHERE top.queue = (xclaim_peek.queue COLLATE "default")::text AND top.status = 'available' AND top.available_at >=
                  '-infinity'
                ORDER BY top.priority DESC
                LIMIT 1) AS priority, 1 AS number
                UNION ALL SELECT (SELECT lower.priority
                FROM {schema}.xclaim_message AS lower
                WHERE lower.queue = (xclaim_peek.queue COLLATE "default")::text AND lower.status = 'available' AND lower.available_at
                  >= '-infinity' AND lower.priority < level.priority
                ORDER BY lower.priority DESC
                LIMIT 1) AS anon_1, level.number + 1 AS anon_2
                FROM level
                WHERE level.priority IS NOT NULL AND level.number < 32), upcoming AS MATERIALIZED (SELECT
                  picked.id AS id
                FROM level CROSS JOIN LATERAL (SELECT waiting.id AS id
                FROM {schema}.xclaim_message AS waiting
                WHERE waiting.queue = (xclaim_peek.queue COLLATE "default")::text AND waiting.status = 'available' AND
                  waiting.priority = level.priority AND waiting.available_at <= statement_timestamp() AND CASE
                  WHEN (waiting.consumed_at IS NOT NULL) THEN false ELSE true END
                ORDER BY waiting.available_at, waiting.id
                LIMIT xclaim_peek.n::INTEGER) AS picked
                UNION ALL SELECT behind.id AS id
                FROM (SELECT other.id AS id
                FROM {schema}.xclaim_message AS other
                WHERE other.queue = (xclaim_peek.queue COLLATE "default")::text AND other.status = 'available' AND other.priority <
                  (SELECT level.priority
                FROM level
                WHERE level.number = 32) AND other.available_at <= statement_timestamp() AND other.available_at
                  >= '-infinity' AND CASE WHEN (other.consumed_at IS NOT NULL) THEN false ELSE true END
                ORDER BY other.priority DESC, other.available_at, other.id
                LIMIT xclaim_peek.n::INTEGER) AS behind
                LIMIT xclaim_peek.n::INTEGER) SELECT xclaim_message.id, xclaim_message.queue,
                  xclaim_message.origin_queue, xclaim_message.status, xclaim_message.priority,
                  xclaim_message.payload, xclaim_message.headers, xclaim_message.unique_key,
                  xclaim_message.attempts, xclaim_message.max_attempts, xclaim_message.created_at,
                  xclaim_message.available_at, xclaim_message.claimed_at, xclaim_message.claim_expires_at,
                  xclaim_message.consumed_at, xclaim_message.claimed_by, xclaim_message.consumed_by,
                  xclaim_message.claim_key, xclaim_message.last_error, xclaim_message.last_error_class,
                  xclaim_message.codec, xclaim_message.ordering_key
                FROM {schema}.xclaim_message
                WHERE xclaim_message.id = ANY (array((SELECT upcoming.id
                FROM upcoming)))
                ORDER BY xclaim_message.priority DESC, xclaim_message.available_at, xclaim_message.id) AS message
         ORDER BY message.priority DESC, message.available_at, message.id;
END
$$;

-- Count the messages of the queue by state, exactly. It reads an index entry of each: not for a
-- hot path.
CREATE OR REPLACE FUNCTION {schema}.xclaim_counts(queue text) RETURNS TABLE (
    available bigint, delayed bigint, claimed bigint, consumed bigint, dead_letters bigint,
    in_line bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    _dead text COLLATE "default" := CASE WHEN (xclaim_counts.queue COLLATE "default") LIKE '%.dead' THEN (xclaim_counts.queue COLLATE "default") ELSE (xclaim_counts.queue COLLATE "default") || '.dead' END;
BEGIN
    IF coalesce(octet_length((xclaim_counts.queue COLLATE "default")), 0) NOT BETWEEN 1
           AND 200 + 5 * ((xclaim_counts.queue COLLATE "default") LIKE '%.dead')::integer
       OR (xclaim_counts.queue COLLATE "default") ~ '^[[:space:]]*$' OR (xclaim_counts.queue COLLATE "default") ~ '[[:cntrl:]]'
       OR getdatabaseencoding() = 'UTF8' AND (xclaim_counts.queue COLLATE "default") ~ $r$[\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U000ffffd\U00100000-\U0010fffd]$r$ THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'queue must have 1 to 200 readable bytes, not %s',
            coalesce(to_json(left((xclaim_counts.queue COLLATE "default"), 60))::text, 'NULL'));
    END IF;
    RETURN QUERY SELECT count(*) FILTER (WHERE NOT (xclaim_message.queue = _dead::text AND xclaim_message.queue <>
          (xclaim_counts.queue COLLATE "default")::text) AND xclaim_message.available_at <= statement_timestamp()) AS
          available, count(*) FILTER (WHERE NOT (xclaim_message.queue = _dead::text AND
          xclaim_message.queue <> (xclaim_counts.queue COLLATE "default")::text) AND xclaim_message.available_at >
          statement_timestamp()) AS delayed, (SELECT count(*) AS count_1
        FROM {schema}.xclaim_message
        WHERE xclaim_message.queue = ANY (ARRAY[(xclaim_counts.queue COLLATE "default")::text, _dead::text]) AND
          xclaim_message.status = 'claimed' AND xclaim_message.claim_expires_at IS NOT NULL) AS claimed,
          (SELECT count(*) AS count_2
        FROM {schema}.xclaim_message
        WHERE xclaim_message.queue = ANY (ARRAY[(xclaim_counts.queue COLLATE "default")::text, _dead::text]) AND
          xclaim_message.consumed_at IS NOT NULL) AS consumed, count(*) FILTER (WHERE
          xclaim_message.queue = _dead::text AND xclaim_message.queue <> (xclaim_counts.queue COLLATE "default")::text) AS
          dead_letters, CASE WHEN (to_regclass({turn}::text) IS NOT NULL) THEN (SELECT count(*) AS
          count_3
        FROM {schema}.xclaim_message
        WHERE xclaim_message.queue = ANY (ARRAY[(xclaim_counts.queue COLLATE "default")::text, _dead::text]) AND
          xclaim_message.status = 'available' AND xclaim_message.available_at IS NULL AND
          xclaim_message.ordering_key IS NOT NULL) ELSE 0 END AS in_line
        FROM {schema}.xclaim_message
        WHERE xclaim_message.queue = ANY (ARRAY[(xclaim_counts.queue COLLATE "default")::text, _dead::text]) AND
          xclaim_message.status = 'available' AND xclaim_message.available_at >= '-infinity';
END
$$;
