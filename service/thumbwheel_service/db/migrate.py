"""Bring the schema up to date at start, under a lock, so that replicas may start together."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

VERSION_TABLE = "service_alembic_version"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Move the schema to `revision` (`head`, `base`, or one by name) in one transaction.

    The writing transaction is the lock: others wait for it (`engine.py`) and then find nothing left to do.
    """
    config = Config()
    config.set_main_option("script_location", str(files("thumbwheel_service.db") / "migrations"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        if revision == "base":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
