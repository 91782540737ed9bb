"""What consumes a queue for longer than one verb: streams, blocks that hold claims, waits."""
