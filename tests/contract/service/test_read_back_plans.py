"""Every filter is read off its own index, in order where there are many rows, on both databases."""

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session
from tests.contract.service.store import write

from thumbwheel_service.db.pages import Span
from thumbwheel_service.db.tables import CompletionRow, FeedbackRow, table_of
from thumbwheel_service.feedback.repository import FeedbackFilter
from thumbwheel_service.feedback.repository import page as feedback_page
from thumbwheel_service.turns.repository import TurnFilter
from thumbwheel_service.turns.repository import page as turn_page

ROWS = 4000
Wanted = TurnFilter | FeedbackFilter


def fill(session: Session) -> None:
    """Rows spread over fifty people and versions; one in a hundred is retracted."""
    session.execute(
        insert(table_of(CompletionRow)),
        [
            {
                "completion_id": f"c{i}",
                "tenant": "t",
                "conversation_id": f"v{i // 4}",
                "policy_version": f"p{i % 50}",
                "model": "m",
                "user": f"u{i // 2 % 50}",
                "status": "complete",
                "origin": "chat",
                "n": 1,
                "routing_propensity": 1.0,
                "created_ms": i,
            }
            for i in range(ROWS)
        ],
    )
    session.execute(
        insert(table_of(FeedbackRow)),
        [
            {
                "feedback_id": f"f{i}",
                "tenant": "t",
                "natural_key": str(i),
                "kind": "flag" if i % 40 else "thumb",
                "completion_id": f"c{i}",
                "conversation_id": f"v{i // 4}",
                "policy_version": f"p{i % 50}",
                "user": f"u{i // 2 % 50}",
                "revision": 1,
                "retracted": i % 100 == 0,
                "pending_event": False,
                "created_ms": i,
                "updated_ms": i,
                "body": b"{}",
            }
            for i in range(ROWS)
        ],
    )


@pytest.fixture
def filled(database: Engine) -> Engine:
    """PostgreSQL counts its rows by itself sooner or later; SQLite goes by the figures of the migration."""
    write(database, fill)
    if database.dialect.name == "postgresql":
        with database.connect() as connection:
            connection.execute(text("ANALYZE"))
            connection.commit()
    return database


def plan(engine: Engine, wanted: Wanted, cursor: str | None) -> str:
    """How the database would read a page."""
    told: list[str] = []
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"

    class Explaining:
        """Stands in for the session: asks for the plan of what it is given, and finds nothing."""

        def __init__(self, session: Session) -> None:
            self._session = session

        def connection(self) -> "Explaining":
            return self

        def execute(self, statement: object) -> list[object]:
            compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
            rows = self._session.connection().exec_driver_sql(f"{explain} {compiled}")
            told.extend(str(row[-1]) for row in rows)
            return []

    def read(session: Session) -> None:
        page = turn_page if isinstance(wanted, TurnFilter) else feedback_page
        page(Explaining(session), "t", wanted, cursor=cursor, limit=50)  # type: ignore[arg-type]

    with Session(engine) as session:
        read(session)
    return "\n".join(told)


CASES: list[tuple[Wanted, str]] = [
    (TurnFilter(completion_ids=["c1", "c2"]), "completion_pkey"),
    (TurnFilter(conversation_id="v1"), "completion_conversation"),
    (TurnFilter(user="u1"), "completion_user"),
    (TurnFilter(policy_version="p1"), "completion_version"),
    (TurnFilter(span=Span(10, 20)), "completion_recent"),
    (TurnFilter(), "completion_recent"),
    (FeedbackFilter(completion_id="c1"), "feedback_completion"),
    (FeedbackFilter(conversation_id="v1"), "feedback_conversation"),
    (FeedbackFilter(user="u1"), "feedback_user"),
    (FeedbackFilter(policy_version="p1"), "feedback_version"),
    (FeedbackFilter(kinds=["thumb"]), "feedback_kind"),
    (FeedbackFilter(kinds=["thumb", "rating"]), "feedback_kind"),
    (FeedbackFilter(retracted=True), "feedback_retracted"),
    (FeedbackFilter(span=Span(10, 20)), "feedback_recent"),
    (FeedbackFilter(), "feedback_recent"),
]


@pytest.mark.parametrize("cursor", [None, f"{ROWS // 2}~x"])
def test_every_filter_has_its_index(filled: Engine, cursor: str | None) -> None:
    for wanted, index in CASES:
        told = plan(filled, wanted, cursor)
        told = told.replace("sqlite_autoindex_completion_1", "completion_pkey")
        assert index in told, f"{wanted}\n{told}"
        assert "Seq Scan" not in told, f"{wanted}\n{told}"


TOGETHER: list[tuple[Wanted, str]] = [
    (FeedbackFilter(completion_id="c1", kinds=["thumb"]), "feedback_completion"),
    (FeedbackFilter(conversation_id="v1", policy_version="p1"), "feedback_conversation"),
    (FeedbackFilter(user="u1", kinds=["thumb", "flag"], span=Span(1, 9)), "feedback_user"),
    (FeedbackFilter(policy_version="p1", kinds=["thumb"], retracted=False), "feedback_version"),
    (TurnFilter(completion_ids=["c1"], policy_version="p1"), "completion_pkey"),
    (TurnFilter(conversation_id="v1", policy_version="p1"), "completion_conversation"),
    (TurnFilter(user="u1", policy_version="p1", span=Span(1, 9)), "completion_user"),
]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_of_several_filters_sqlite_takes_the_narrowest(filled: Engine) -> None:
    for wanted, index in TOGETHER:
        told = plan(filled, wanted, f"{ROWS // 2}~x")
        assert index in told.replace("sqlite_autoindex_completion_1", "completion_pkey"), f"{wanted}\n{told}"
