"""Workers and producers in other languages, as `examples` has them, on a real PostgreSQL."""
