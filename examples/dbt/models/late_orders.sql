-- Which orders are late. For each a message tells those who care, once a day.
{{ config(post_hook="{{ push_rows('late-orders', key=['order_number', 'day']) }}") }}

SELECT order_number, due, DATE '2026-11-27' AS day
  FROM {{ ref('orders') }}
 WHERE shipped IS NULL AND due < DATE '2026-11-27'
