"""The Airflow side of xclaim: everything here may import airflow, nothing else may."""
