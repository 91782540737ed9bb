"""`python -m tests.reference` writes the pages."""

from tests.reference import write

write()
