"""The database's clock, so that processes on several machines need not agree on the time."""

from sqlalchemy import BigInteger, ColumnElement, Integer, cast, func, select
from sqlmodel import Session


def database_ms(session: Session) -> int:
    """Milliseconds since 1970, now, whenever the transaction began."""
    clock: ColumnElement[int] = (
        cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
        if session.connection().dialect.name == "postgresql"
        else cast((func.julianday("now") - 2440587.5) * 86_400_000, Integer)
    )
    return int(session.execute(select(clock)).scalar_one())
