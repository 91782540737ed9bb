"""What operators run: migrations, grants, audits, upkeep of payload storage."""
