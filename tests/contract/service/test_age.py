"""What is older than the retention goes, on both databases: rows, keys, and the learner's word for it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from tests.contract.service.store import write
from tests.contract.service.test_erasure import HI, bring, give
from tests.keyrings import opened, store_beside
from tests.serving import alive, client, idle_app
from tests.waiting import eventually

from thumbwheel.box import Erased
from thumbwheel.events import Event, PersonErased, decode
from thumbwheel_service.db.tables import CompletionRow, FeedbackRow, LogRow, PersonRow
from thumbwheel_service.erasure.age import renew_ms

DAY_MS = 86_400_000


def app_of(database: Engine, folder: Path, days: float) -> Any:
    url = database.url.render_as_string(hide_password=False)
    return idle_app(folder, database_url=url, retention_days=days)


def age(database: Engine, days: float, *, but: str = "") -> None:
    """As if everything had happened so long ago, except for one turn."""
    past = int(days * DAY_MS)

    def unit(session: Any) -> None:
        sql = session.connection().exec_driver_sql
        sql(f"UPDATE completion SET created_ms = created_ms - {past} WHERE completion_id <> '{but}'")
        sql(f"UPDATE feedback SET updated_ms = updated_ms - {past}")
        sql(f"UPDATE person SET used_until_ms = used_until_ms - {past}")

    write(database, unit)


def logged(database: Engine) -> list[Event]:
    """Every event of the log, as it travels."""
    values = write(database, lambda s: list(s.execute(select(LogRow.value)).scalars()))
    return [decode(value).event for value in values]


def test_a_key_is_used_for_a_tenth_of_the_retention() -> None:
    assert renew_ms(0) is None
    assert renew_ms(30) == 3 * DAY_MS


async def test_what_is_old_goes_and_what_is_new_stays(database: Engine, tmp_path: Path) -> None:
    app = app_of(database, tmp_path, 10)
    async with alive(app), client(app) as http:
        await bring(http, "old", "talk", user="ann")
        await give(http, kind="thumb", completion_id="old", value="up", user="agent")
        await give(http, kind="demonstration", messages=HI, text="Tomorrow.")
        before = write(database, lambda s: list(s.execute(select(LogRow.value)).scalars()))
        age(database, 12)
        await bring(http, "new", "talk", user="ann")
        await give(http, kind="thumb", completion_id="new", value="down", user="agent")
    async with alive(app_of(database, tmp_path, 10)):
        await eventually(lambda: PersonErased in {type(event) for event in logged(database)})
    left = write(database, lambda s: set(s.execute(select(CompletionRow.completion_id)).scalars()))
    assert left == {"new"}
    assert len(write(database, lambda s: s.execute(select(FeedbackRow.feedback_id)).all())) == 1
    for value in before:
        with pytest.raises(Erased):
            opened(value, store_beside(database))
    log = write(database, lambda s: list(s.execute(select(LogRow.value)).scalars()))
    told = [event for event in logged(database) if isinstance(event, PersonErased)]
    assert [event.by_age for event in told] == [True]
    assert len(told[0].keys) == 3
    kept = [value for value in log if value not in before and not isinstance(decode(value).event, PersonErased)]
    assert len([opened(value, store_beside(database)) for value in kept]) == 2


async def test_keys_made_for_ever_get_an_age_when_retention_is_switched_on(database: Engine, tmp_path: Path) -> None:
    app = app_of(database, tmp_path, 0)
    async with alive(app), client(app) as http:
        await bring(http, "one", "talk", user="ann")
    assert write(database, lambda s: s.execute(select(PersonRow.used_until_ms)).scalars().all()) == [None]
    app = app_of(database, tmp_path, 10)
    async with alive(app), client(app) as http:
        await bring(http, "two", "talk", user="ann")
        assert (await http.get("/v1/turns/one")).status_code == 200
    keys = write(database, lambda s: s.execute(select(PersonRow.subject, PersonRow.used_until_ms)).all())
    assert [subject for subject, _ in keys] == ["user/ann", "user/ann"]
    assert all(until is not None for _, until in keys)


async def test_without_retention_nothing_goes(database: Engine, tmp_path: Path) -> None:
    app = app_of(database, tmp_path, 0)
    async with alive(app), client(app) as http:
        await bring(http, "old", "talk", user="ann")
    age(database, 10_000)
    async with alive(app_of(database, tmp_path, 0)):
        pass
    assert write(database, lambda s: list(s.execute(select(CompletionRow.completion_id)).scalars())) == ["old"]


async def test_an_expired_key_erases_nobody_after_a_restore(database: Engine, tmp_path: Path) -> None:
    """The back-up has the binding of an old key; its owner's newer words stay."""
    app = app_of(database, tmp_path, 10)
    async with alive(app), client(app) as http:
        await bring(http, "new", "talk", user="ann")
    (key_id,) = store_beside(database).make(1)
    store_beside(database).destroy([key_id], "expired")
    row = PersonRow(tenant="default", subject="user/ann", key_id=key_id, used_until_ms=1)
    write(database, lambda s: s.add(row))
    app = app_of(database, tmp_path, 10)
    async with alive(app), client(app) as http:
        assert (await http.get("/v1/turns/new")).status_code == 200
