"""Payloads: as plain JSON in the row, encoded in the row, or as an object in a storage."""
