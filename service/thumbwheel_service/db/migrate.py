"""Bring the schema up to date at start, under a lock, so that replicas may start together."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from thumbwheel.errors import ConfigurationError
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.key_store import SqlKeyStore
from thumbwheel_service.db.trouble import is_trouble, reason_of

VERSION_TABLE = "service_alembic_version"


class NoDatabase(ConfigurationError):
    """The database cannot be opened; the message says why."""


def open_database(url: str) -> Engine:
    """The engine of a database whose schema is up to date; raises `NoDatabase`."""
    with _opening("THUMBWHEEL_DATABASE_URL"):
        engine = connect(url)
        migrate(engine)
        return engine


def open_key_store(url: str) -> SqlKeyStore:
    """Where people's keys lie; raises `NoDatabase`."""
    with _opening("THUMBWHEEL_KEYS_DATABASE_URL"):
        return SqlKeyStore(connect(url))


@contextmanager
def _opening(variable: str) -> Iterator[None]:
    """What goes wrong with the database that this variable names is `NoDatabase`."""
    try:
        yield
    except OSError as error:
        raise NoDatabase(f"{variable}: {error.filename}: {error.strerror}") from error
    except SQLAlchemyError as error:
        if not is_trouble(error):
            raise
        raise NoDatabase(f"the database of {variable} does not answer: {reason_of(error)}") from error


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
