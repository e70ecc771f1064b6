"""The least that any feedback endpoint does: a Litestar handler that parses the thumb, under the service's server.

`python -m tests.benchmarks.bare_server` listens on THUMBWHEEL_PORT.
"""

import os
import sys

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, get, post

from thumbwheel.types import Thumb
from thumbwheel_service.server import UVICORN

_thumb = msgspec.json.Decoder(Thumb)


@post("/v1/feedback")
async def parse(request: Request) -> Response[bytes]:
    """Nothing is checked, stored or told but that the body is a thumb."""
    _thumb.decode(await request.body())
    return Response(b"{}", status_code=201, media_type="application/json")


@get("/readyz")
async def ready() -> dict[str, str]:
    return {}


def main() -> int:
    """The server's settings are those of `thumbwheel_service.server`."""
    config = uvicorn.Config(
        Litestar([parse, ready], logging_config=None, openapi_config=None),
        host="127.0.0.1",
        port=int(os.environ["THUMBWHEEL_PORT"]),
        **UVICORN,
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
