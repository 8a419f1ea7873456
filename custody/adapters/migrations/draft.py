"""``python -m custody.adapters.migrations.draft TITLE``: write the step from the newest version to now.

It makes a database by the steps there are, and writes what ``custody.adapters.tables`` has beyond it. Read
what it wrote, and set ``custody.adapters.schema.HEAD``.
"""

import sys
from typing import Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from custody.adapters.schema import MIGRATIONS, upgrade
from custody.adapters.tables import METADATA, Nonce

STEP = '''"""{title}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before!r}


def upgrade() -> None:
    """Change the tables."""
    {body}
'''


def main(title: str) -> None:
    """Write the file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with create_engine("sqlite://").connect() as db:
        if newest is not None:
            upgrade(db)
        context = MigrationContext.configure(db, opts={"compare_type": True})
        steps = produce_migrations(context, METADATA).upgrade_ops
        if steps is None or steps.is_empty():
            sys.exit("nothing was changed")
        lines = render_python_code(steps, migration_context=context, render_item=_plain).strip().splitlines()
    body = "\n".join(line for line in lines if "# ###" not in line)
    revision = f"{int(newest or 0) + 1:04d}"
    name = "_".join(title.lower().split())
    path = MIGRATIONS / "versions" / f"v{revision}_{name}.py"
    path.write_text(
        STEP.format(title=title.capitalize(), revision=revision, before=newest, body=body.strip())
    )
    sys.stdout.write(f"{path}\n")


def _plain(kind: str, item: object, _: object) -> str | Literal[False]:
    """A step has the column types of the database, not ours, which may change."""
    return "sa.LargeBinary(length=32)" if kind == "type" and isinstance(item, Nonce) else False


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
