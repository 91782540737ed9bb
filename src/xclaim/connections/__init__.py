"""How a verb reaches the database: engines, the connections kept for threads, the driver itself."""
