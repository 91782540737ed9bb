-- What a queue may have done by the extension pg_cron, in the database of the table.
-- Each job is one statement, and may run on two servers or twice: nothing is done double.

-- A job for the workers, once a day: the key names the day, so a second push of it pushes nothing. What is pushed in
-- SQL wakes nobody by itself, so the workers that listen are woken too.
SELECT cron.schedule('push the report', '0 6 * * *', $$
    SELECT xclaim_push('reports', jsonb_build_object('day', current_date),
                       unique_key => 'report-' || current_date),
           pg_notify('xclaim', 'reports')
$$);

-- Give back what dead workers held, in a queue that nobody claims from for hours.
SELECT cron.schedule('expire reports', '*/10 * * * *', $$SELECT xclaim_expire('reports')$$);

-- Delete what was consumed a month ago, up to 100,000 rows a night.
SELECT cron.schedule('prune reports', '17 3 * * *', $$
    SELECT xclaim_prune('reports', older_than => '30 days', n => 100000)
$$);

-- Try the dead letters again each morning, for an outage of the night.
SELECT cron.schedule('redrive reports', '30 5 * * *', $$SELECT xclaim_redrive('reports')$$);
