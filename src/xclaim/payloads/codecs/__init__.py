"""What makes bytes or JSON of a payload, and a payload of these."""
