"""A service with turns to vote on and a key to vote with, and the votes as an app sends them."""

import httpx
import msgspec
from sqlmodel import Session
from tests.benchmarks.real_events import ANSWERS, PROMPTS

from thumbwheel.types import Thumb, TurnIn
from thumbwheel_service.auth import keys
from thumbwheel_service.db.engine import connect
from thumbwheel_service.db.migrate import open_database

COMPLETIONS = 256
COMMENT = "It did not say when the parcel arrives."
_encoder = msgspec.json.Encoder()


def make_key(database_url: str) -> str:
    """A chat key in a new database; from then on every vote needs one."""
    open_database(database_url).dispose()
    database, key = connect(database_url), keys.mint()
    with (
        database.connect().execution_options(writes=True) as connection,
        Session(connection) as session,
        session.begin(),
    ):
        keys.create(session, key, name="benchmark", scope="chat")
    database.dispose()
    return key.text


def bring_turns(url: str, key: str) -> None:
    """The turns that `thumb` speaks of, of the size of real ones."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, trust_env=False) as http:
        for number in range(COMPLETIONS):
            turn = TurnIn(
                messages=PROMPTS[number % len(PROMPTS)],
                answers=[ANSWERS[number % len(ANSWERS)]],
                completion_id=f"bench-{number}",
            )
            content = _encoder.encode(turn)
            http.post("/v1/turns", content=content, headers={"content-type": "application/json"}).raise_for_status()


def thumb(number: int, user: str) -> bytes:
    """A vote; `user` makes its natural key unique."""
    vote = Thumb(
        completion_id=f"bench-{number % COMPLETIONS}",
        user=user,
        value="down" if number % 3 == 0 else "up",
        reasons=["incomplete"],
        comment=COMMENT,
    )
    return _encoder.encode(vote)
