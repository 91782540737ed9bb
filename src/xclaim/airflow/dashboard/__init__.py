"""The dashboard inside Airflow: let in by its auth manager, on the databases of its connections.

Only the API server imports this, with the first request for a page of it.
"""
