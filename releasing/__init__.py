"""What `make release` does: build what is published, check it, and use it as a user would.

It runs in an environment of its own, without xclaim: of the checkout it imports this folder only.
"""
