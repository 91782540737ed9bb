"""What the DAGs in `dags/seeds.py` return: by DAG, a task and its values by map index."""

from __future__ import annotations

SEEDS = {
    "seed_user_id": ("greet", ["hello, user 42"]),
    "seed_sum": ("total", [6]),
    "seed_sql": ("first_value", [14]),
    "seed_expand": ("total", [18]),
    "seed_frame": ("busiest", ["Rome"]),
}
