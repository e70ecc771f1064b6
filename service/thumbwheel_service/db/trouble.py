"""Tells a database that fails from a statement that is wrong, and says why in words fit for strangers."""

import re
import sqlite3

from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from thumbwheel_service.db.engine import DatabaseGone
from thumbwheel_service.errors import ServiceError


def is_trouble(error: BaseException) -> bool:
    """Whether the database itself failed: full, gone, locked, read-only or broken."""
    if isinstance(error, DBAPIError):
        failing = isinstance(error, OperationalError | InterfaceError | InternalError)
        return failing or error.connection_invalidated or type(error) is DatabaseError
    return isinstance(error, PoolTimeout | DatabaseGone)


def reason_of(error: BaseException) -> str:
    """Why, without hosts, statements or contents: `database or disk is full`, `admin shutdown`, `no connection`."""
    if isinstance(error, ServiceError):
        return error.detail
    origin = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(origin, sqlite3.Error):
        return str(origin)
    if getattr(origin, "sqlstate", None):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(origin).__name__).lower()
    return "no connection" if is_trouble(error) else "internal error"
