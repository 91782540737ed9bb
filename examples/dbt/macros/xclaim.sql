{# Hooks for the models of this project. dbt runs a hook in the transaction of its model, so that the rows of the model
   and what happens to the messages are committed together, or not at all. #}

{# post_hook="{{ push_rows('late-orders', key=['order_number', 'day']) }}": a message for each row of the model. A row
   whose key was pushed before pushes nothing; one that says something else under the same key fails the model. #}
{% macro push_rows(queue, key) %}
    SELECT count(*)
      FROM (SELECT coalesce(array_agg(to_jsonb(line)), '{}') AS payloads,
                   coalesce(array_agg(concat_ws('-', {% for name in key %}line.{{ name }}{{ ', ' if not loop.last }}{% endfor %})), '{}') AS keys
              FROM {{ this }} AS line) AS found,
           {{ var('xclaim_schema') }}.xclaim_push_many('{{ queue }}', found.payloads, unique_keys => found.keys)
{% endmacro %}

{# pre_hook="{{ claim_messages('sales') }}": what is in the queue, at most `n` messages, as the table `claimed`. What only
   Python can read (it is encrypted, in a storage, or no plain JSON) is released with an error: its payload here is not
   what was pushed. It is tried again, and is a dead letter after its attempts; the others are loaded. #}
{% macro claim_messages(queue, n=1000) %}
    CREATE TEMPORARY TABLE claimed ON COMMIT DROP AS
    SELECT * FROM {{ var('xclaim_schema') }}.xclaim_claim('{{ queue }}', 'dbt {{ invocation_id }}', n => {{ n }});
    SELECT {{ var('xclaim_schema') }}.xclaim_release(id, token, error => 'only Python can read a payload with the codec ' || codec)
      FROM claimed WHERE codec IS NOT NULL;
    DELETE FROM claimed WHERE codec IS NOT NULL
{% endmacro %}

{# post_hook="{{ ack_messages() }}": mark what was claimed consumed, with the rows that were made of it. #}
{% macro ack_messages() %}
    SELECT {{ var('xclaim_schema') }}.xclaim_ack(id, token) FROM claimed
{% endmacro %}
