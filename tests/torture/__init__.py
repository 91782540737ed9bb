"""Workers under faults: is every message consumed, and each exactly once? See README.md."""
