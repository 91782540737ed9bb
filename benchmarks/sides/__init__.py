"""Two checkouts of xclaim side by side, each in a process of its own, asked in turn."""
