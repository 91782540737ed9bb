-- xclaim_push: Push a payload and return the id of its message. With a unique_key the message that is there already, if it has the same payload; else XC002. With an ordering_key it is claimed after those that were pushed with the same one before. XC003 if the queue is full.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push(
    queue text, payload jsonb, unique_key text DEFAULT NULL, priority integer DEFAULT 0,
    delay interval DEFAULT '0', max_attempts integer DEFAULT {max_attempts},
    headers jsonb DEFAULT '{}', ordering_key text DEFAULT NULL, on_dead text DEFAULT 'skip'
) RETURNS bigint
{settings} AS $$
#variable_conflict use_column
DECLARE
    _id bigint;
    _pushed record;  -- into one variable PostgreSQL may be set to put no more than one column
    _count integer := 1;
    _most integer;
    _on_full text;
    _waiting bigint;
BEGIN
    {check_push}
    IF xclaim_push.payload IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'payload is NULL',
            HINT = $h$for JSON null pass 'null'::jsonb$h$;
    END IF;
    IF xclaim_push.unique_key IS NULL AND xclaim_push.ordering_key IS NULL THEN
        IF {is_limited} THEN
            {refuse_full}
        END IF;
        {push_one} INTO _pushed;
        RETURN _pushed.id;
    END IF;
    SELECT pushed.id INTO _id
      FROM {schema}.xclaim_push_many(
               xclaim_push.queue, ARRAY[xclaim_push.payload], ARRAY[xclaim_push.unique_key],
               xclaim_push.priority, xclaim_push.delay, xclaim_push.max_attempts,
               xclaim_push.headers, ARRAY[xclaim_push.ordering_key], xclaim_push.on_dead)
           AS pushed;
    RETURN _id;
END
$$;

-- xclaim_push_many: Push payloads, all or none, and return their ids in the same order. Those under a unique_key that is taken by the same payload are not new. XC003 if there is no room for what is new.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push_many(
    queue text, payloads jsonb[], unique_keys text[] DEFAULT NULL, priority integer DEFAULT 0,
    delay interval DEFAULT '0', max_attempts integer DEFAULT {max_attempts},
    headers jsonb DEFAULT '{}', ordering_keys text[] DEFAULT NULL, on_dead text DEFAULT 'skip'
) RETURNS TABLE (id bigint, is_new boolean)
{list_settings} AS $$
#variable_conflict use_column
DECLARE
    _is_ordered boolean := EXISTS (SELECT FROM unnest(xclaim_push_many.ordering_keys) AS given (key)
                                    WHERE key IS NOT NULL);
    _holds_turn boolean := nullif(xclaim_push_many.on_dead = 'hold', false);
    _payloads jsonb[];
    _keys text[];
    _lines text[];
    _left integer;
    _found bigint[] := '{}';
    _found_keys text[] := '{}';
    _found_new boolean[] := '{}';
    _ids bigint[];
    _id_keys text[];
    _same boolean[];
    _new boolean[];
    _count integer := cardinality(xclaim_push_many.payloads);
    _bytes integer;
    _most integer;
    _on_full text;
    _waiting bigint;
BEGIN
    {check_push}
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
    {check_ordering_keys}
    IF _is_ordered THEN
        {refuse_keys_if_not_enabled}
    END IF;
    IF xclaim_push_many.unique_keys IS NULL AND {is_limited} THEN
        {refuse_full}
    END IF;
    IF xclaim_push_many.unique_keys IS NULL AND NOT _is_ordered THEN
        RETURN QUERY WITH pushed AS (
            {push payloads=to_jsonb(xclaim_push_many.payloads)})
        SELECT pushed.id, true FROM pushed ORDER BY pushed.id;
        RETURN;
    ELSIF xclaim_push_many.unique_keys IS NULL THEN
        WITH pushed AS (
            {push_ordered payloads=xclaim_push_many.payloads})
        SELECT array_agg(pushed.id ORDER BY pushed.id) INTO _ids FROM pushed;
        PERFORM {schema}.xclaim_line_up(_ids);
        RETURN QUERY SELECT each.id, true FROM unnest(_ids) AS each (id) ORDER BY each.id;
        RETURN;
    END IF;
    {check_unique_keys}
    -- Each key once.
    SELECT array_agg(one.payload ORDER BY one.place), array_agg(one.key ORDER BY one.place),
           array_agg(one.line ORDER BY one.place)
      INTO _payloads, _keys, _lines
      FROM (SELECT min(place) AS place, (array_agg(payload ORDER BY place))[1] AS payload, key,
                   (array_agg(line ORDER BY place))[1] AS line
              FROM unnest(xclaim_push_many.payloads, xclaim_push_many.unique_keys,
                          xclaim_push_many.ordering_keys)
                   WITH ORDINALITY AS given (payload, key, line, place)
             GROUP BY key, CASE WHEN key IS NULL THEN place END
            HAVING count(DISTINCT payload) = 1) AS one;
    IF coalesce(cardinality(_keys), 0) <> (
            SELECT count(DISTINCT key) + count(*) FILTER (WHERE key IS NULL)
              FROM unnest(xclaim_push_many.unique_keys) AS given (key)) THEN
        RAISE 'a unique_key is given with two payloads'
            USING ERRCODE = 'XC002', HINT = 'push the same payload, or use another unique_key';
    END IF;
    IF {is_limited} THEN
        SELECT count(*) INTO _count
          FROM unnest(_keys) AS given (key)
         WHERE key IS NULL OR NOT EXISTS (
               SELECT FROM {schema}.xclaim_message AS taken
                WHERE taken.origin_queue = xclaim_push_many.queue AND taken.unique_key = given.key);
        {refuse_full}
    END IF;
    _left := coalesce(cardinality(_keys), 0);
    FOR _try IN 1..{tries} + _left LOOP
        EXIT WHEN _left = 0;
        {push_once gathered payloads=_payloads unique_keys=_keys ordering_keys=_lines}
            INTO _ids, _id_keys, _same, _new;
        IF array_position(_same, false) > 0 THEN
            RAISE 'unique_key % is taken in queue % by another payload',
                (SELECT string_agg(quote_literal(key), ', ' ORDER BY key)
                   FROM (SELECT key FROM unnest(_id_keys, _same) AS row (key, is_same)
                          WHERE NOT is_same ORDER BY key LIMIT 10) AS clashing),
                quote_literal(xclaim_push_many.queue)
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
        {refuse_unseen}
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
                  FROM unnest(xclaim_push_many.unique_keys)
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

-- xclaim_push_row: A trigger: push the row, AFTER INSERT, UPDATE or DELETE ... FOR EACH ROW. Its arguments: the queue; if it is to be pushed once, the column with the unique_key, else ''; the column with the ordering_key.
CREATE OR REPLACE FUNCTION {schema}.xclaim_push_row() RETURNS trigger
{plain_settings} AS $$
DECLARE
    _row jsonb;
    _column text;
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

-- xclaim_claim: Claim up to n messages, the next one first: highest priority, then longest available. Lapsed claims of the queue are given back on the way. With a claim_key what an earlier attempt (same key, another claimed_by) still holds is taken back first, alone.
CREATE OR REPLACE FUNCTION {schema}.xclaim_claim(
    queue text, claimed_by text DEFAULT NULL, n integer DEFAULT 1,
    lease interval DEFAULT '5 minutes', claim_key text DEFAULT NULL
) RETURNS TABLE (
    id bigint, token uuid, payload jsonb, headers jsonb, attempts integer, max_attempts integer,
    priority smallint, unique_key text, origin_queue text, created_at timestamptz,
    expires_at timestamptz, last_error text, codec text, ordering_key text
)
{settings} AS $$
#variable_conflict use_column
DECLARE
    _claimant text := coalesce(xclaim_claim.claimed_by, session_user || ':' || pg_backend_pid());
    _secret bytea := uuid_send(gen_random_uuid());
    _dead text := {dead queue=xclaim_claim.queue};
    _drawn integer := floor(random() * 1000000);
    _lapsed bigint;
BEGIN
    {check_name queue=xclaim_claim.queue}
    {check_lease}
    {check_n}
    IF octet_length(_claimant) NOT BETWEEN 1 AND {max_key}
       OR octet_length(xclaim_claim.claim_key) NOT BETWEEN 1 AND {max_key} THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'claimed_by and claim_key must have 1 to {max_key} bytes, not %s and %s',
            octet_length(_claimant), coalesce(octet_length(xclaim_claim.claim_key)::text, 'NULL'));
    END IF;
    IF EXISTS (SELECT FROM {schema}.xclaim_message AS held
                WHERE held.queue = xclaim_claim.queue
                  AND held.claim_expires_at <= statement_timestamp()) THEN
        IF xclaim_claim.claim_key IS NULL THEN
            WITH given_back AS (
                {expire message_limit=100})
            SELECT count(*) INTO _lapsed FROM given_back;
        ELSE
            WITH given_back AS (
                {expire_others message_limit=100})
            SELECT count(*) INTO _lapsed FROM given_back;
        END IF;
    END IF;
    {pass_what_is_owed}
    IF xclaim_claim.claim_key IS NULL THEN
        RETURN QUERY WITH claimed AS (
            {claim})
        {claimed}
    ELSE
        RETURN QUERY WITH claimed AS (
            {claim_again})
        {claimed}
    END IF;
    IF NOT FOUND THEN
        -- Perhaps the queue has limits.
        RETURN QUERY {claim_within}
        {claimed}
    END IF;
END
$$;

-- xclaim_ack: Mark the message consumed. XC001 if the claim is no longer held: then the transaction fails, and what it has done is undone.
CREATE OR REPLACE FUNCTION {schema}.xclaim_ack(id bigint, token uuid) RETURNS void
{settings} AS $$
#variable_conflict use_column
DECLARE
    _id bigint;
BEGIN
    {ack} INTO _id;
    {refuse_lost}
END
$$;

-- xclaim_ack_many: Mark the messages consumed whose claims are still held, and return their ids: what is not among them was lost.
CREATE OR REPLACE FUNCTION {schema}.xclaim_ack_many(ids bigint[], tokens uuid[])
RETURNS SETOF bigint
{settings} AS $$
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
    RETURN QUERY {ack_many ids=_ids tokens=_tokens};
END
$$;

-- xclaim_release: Give the message back. With an error the attempt has failed: the message comes back after a growing pause, or after delay, and is a dead letter when its attempts are used up. Its available_at is NULL if it stands in the line of its ordering_key again. XC001 if the claim is no longer held.
CREATE OR REPLACE FUNCTION {schema}.xclaim_release(
    id bigint, token uuid, delay interval DEFAULT NULL, error text DEFAULT NULL,
    counts boolean DEFAULT true, error_class text DEFAULT NULL
) RETURNS TABLE (queue text, status text, attempts integer, available_at timestamptz)
{settings} AS $$
#variable_conflict use_column
DECLARE
    _row record;
    _drawn integer := floor(random() * 1000000);
    _error text := left(xclaim_release.error, 10000);
BEGIN
    {check_optional_delay}
    IF coalesce(xclaim_release.counts, true) THEN
        IF _error IS NULL AND xclaim_release.delay IS NULL THEN
            {release_counted} INTO _row;
        ELSIF _error IS NULL THEN
            {release_counted_delayed} INTO _row;
        ELSIF xclaim_release.delay IS NULL THEN
            {release_counted_failed} INTO _row;
        ELSE
            {release_counted_failed_delayed} INTO _row;
        END IF;
    ELSIF _error IS NULL AND xclaim_release.delay IS NULL THEN
        {release} INTO _row;
    ELSIF _error IS NULL THEN
        {release_delayed} INTO _row;
    ELSIF xclaim_release.delay IS NULL THEN
        {release_failed} INTO _row;
    ELSE
        {release_failed_delayed} INTO _row;
    END IF;
    {refuse_lost}
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

-- xclaim_extend: Let the lease end so long from now, and return when. XC001 if the claim is no longer held.
CREATE OR REPLACE FUNCTION {schema}.xclaim_extend(
    id bigint, token uuid, lease interval DEFAULT '5 minutes'
) RETURNS timestamptz
{settings} AS $$
#variable_conflict use_column
DECLARE
    _expires_at timestamptz;
BEGIN
    {check_lease}
    {extend} INTO _expires_at;
    {refuse_lost}
    RETURN _expires_at;
END
$$;

-- xclaim_expire: Give back up to n messages whose lease ran out, and return how many. They have failed; those whose attempts are used up become dead letters.
CREATE OR REPLACE FUNCTION {schema}.xclaim_expire(queue text, n integer DEFAULT 1000)
RETURNS bigint
{settings} AS $$
#variable_conflict use_column
DECLARE
    _dead text := {dead queue=xclaim_expire.queue};
    _drawn integer := floor(random() * 1000000);
    _count bigint;
BEGIN
    {check_name queue=xclaim_expire.queue}
    {check_n}
    WITH given_back AS (
        {expire})
    SELECT count(*) INTO _count FROM given_back;
    {pass_what_is_owed}
    RETURN _count;
END
$$;

-- xclaim_redrive: Move up to n dead letters of the queue back to it, or to another, with no attempts counted; return how many.
CREATE OR REPLACE FUNCTION {schema}.xclaim_redrive(
    queue text, to_queue text DEFAULT NULL, n integer DEFAULT 1000
) RETURNS bigint
{settings} AS $$
#variable_conflict use_column
DECLARE
    _dead text := {dead queue=xclaim_redrive.queue};
    _queue text := coalesce(xclaim_redrive.to_queue, left(_dead, -5));
    _count bigint;
BEGIN
    {check_name queue=xclaim_redrive.queue}
    {check_n}
    {check_queue queue=_queue}
    WITH redriven AS (
        {redrive queue_name=_queue})
    SELECT count(*) INTO _count FROM redriven;
    RETURN _count;
END
$$;

-- xclaim_withdraw: Delete the messages under these keys that nobody has claimed, also dead letters, and return how many.
CREATE OR REPLACE FUNCTION {schema}.xclaim_withdraw(queue text, unique_keys text[])
RETURNS bigint
{settings} AS $$
#variable_conflict use_column
DECLARE
    _bytes integer;
    _count bigint;
BEGIN
    {check_name queue=xclaim_withdraw.queue}
    {check_bytes_of_unique_keys}
    IF has_table_privilege({message}, 'DELETE') THEN
        WITH withdrawn AS (
            {withdraw})
        SELECT count(*) INTO _count FROM withdrawn;
    ELSE
        {withdraw_as_maintainer count} INTO _count;
    END IF;
    RETURN _count;
END
$$;

-- xclaim_prune: Delete up to n messages of the queue, or of its dead letters, that were consumed so long ago, and return how many. Call it again while it returns n.
CREATE OR REPLACE FUNCTION {schema}.xclaim_prune(
    queue text, older_than interval, n integer DEFAULT 1000
) RETURNS bigint
{settings} AS $$
#variable_conflict use_column
DECLARE
    _queue text;
    _part bigint;
    _count bigint := 0;
BEGIN
    {check_name queue=xclaim_prune.queue}
    {check_n}
    {check_older_than}
    FOREACH _queue IN ARRAY ARRAY[xclaim_prune.queue, {dead queue=xclaim_prune.queue}] LOOP
        EXIT WHEN _count >= xclaim_prune.n;
        IF has_table_privilege({message}, 'DELETE') THEN
            WITH pruned_messages AS (
                {prune queue_name=_queue message_limit=xclaim_prune.n-_count})
            SELECT count(*) INTO _part FROM pruned_messages;
        ELSE
            {prune_as_maintainer count queue_name=_queue message_limit=xclaim_prune.n-_count} INTO _part;
        END IF;
        _count := _count + _part;
    END LOOP;
    RETURN _count;
END
$$;

-- xclaim_peek: Return the messages that would be claimed next, without claiming them.
CREATE OR REPLACE FUNCTION {schema}.xclaim_peek(queue text, n integer DEFAULT 1) RETURNS TABLE (
    id bigint, payload jsonb, headers jsonb, attempts integer, max_attempts integer,
    priority smallint, unique_key text, origin_queue text, created_at timestamptz,
    available_at timestamptz, last_error text, codec text, ordering_key text
)
{reading_settings} AS $$
#variable_conflict use_column
BEGIN
    {check_name queue=xclaim_peek.queue}
    {check_n}
    RETURN QUERY
        SELECT message.id, message.payload, message.headers, message.attempts,
               message.max_attempts, message.priority, message.unique_key, message.origin_queue,
               message.created_at, message.available_at, message.last_error, message.codec,
               message.ordering_key
          FROM (
            {peek}) AS message
         ORDER BY message.priority DESC, message.available_at, message.id;
END
$$;

-- xclaim_counts: Count the messages of the queue by state, exactly. It reads an index entry of each: not for a hot path.
CREATE OR REPLACE FUNCTION {schema}.xclaim_counts(queue text) RETURNS TABLE (
    available bigint, delayed bigint, claimed bigint, consumed bigint, dead_letters bigint,
    in_line bigint
)
{counting_settings} AS $$
#variable_conflict use_column
DECLARE
    _dead text := {dead queue=xclaim_counts.queue};
BEGIN
    {check_name queue=xclaim_counts.queue}
    RETURN QUERY {counts};
END
$$;
