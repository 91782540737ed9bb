-- What the shops have sold: each message of the queue becomes one row, once. The payload as it is: one that cannot be
-- cast here would fail the model, and keep all the others in the queue. Cast it in the next model.
{{ config(
    materialized='incremental',
    full_refresh=false,
    pre_hook="{{ claim_messages('sales') }}",
    post_hook="{{ ack_messages() }}",
) }}

SELECT id AS message, created_at AS sold_at, payload FROM claimed
