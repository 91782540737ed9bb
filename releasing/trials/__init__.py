"""Programs that use an installed xclaim as a user does, in environments without the checkout."""
