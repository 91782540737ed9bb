"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade(op: Operations, schema: str | None = None) -> None:
    ${upgrades if upgrades else "raise NotImplementedError"}


def downgrade(op: Operations, schema: str | None = None) -> None:
    ${downgrades if downgrades else "raise NotImplementedError"}
