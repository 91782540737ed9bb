"""Every statement, every table, and every difference between the databases."""
