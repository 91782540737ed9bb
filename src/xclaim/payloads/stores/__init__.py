"""Where payloads lie that are too large for a row."""
