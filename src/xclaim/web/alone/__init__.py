"""The dashboard alone: who is let in, and the server of ``xclaim dashboard``."""
