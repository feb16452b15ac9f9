"""Plans from before searches had seeds read like later ones"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Revision 0002 came with a path for each seed that is searched, and left the single paths of older plans as they were.
PATHS = """
    UPDATE stagetune.experiment SET plan = jsonb_set(plan, '{variants}', (
        SELECT jsonb_agg(CASE WHEN jsonb_exists(v, 'paths') THEN v
            ELSE v - 'path' || jsonb_build_object('paths', jsonb_build_array(v -> 'path')) END ORDER BY n)
        FROM jsonb_array_elements(plan -> 'variants') WITH ORDINALITY AS e (v, n)
    ))
    WHERE jsonb_path_exists(plan, '$.variants[*].path')
"""


def upgrade() -> None:
    op.execute(PATHS)


def downgrade() -> None:
    # The version before reads these plans, and not the others.
    pass
