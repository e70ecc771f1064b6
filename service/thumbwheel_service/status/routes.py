"""`/healthz`, `/readyz` and `/metrics` for machines, `/v1/status` for people."""

from litestar import Response, get
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.types import ServiceStatus
from thumbwheel_service.http import answer
from thumbwheel_service.metrics import Metrics
from thumbwheel_service.openapi import documented
from thumbwheel_service.status.service import Health, Readiness, StatusService


@get("/healthz", tags=["status"], operation_class=documented(answers={200: Health}))
async def healthz() -> Response[bytes]:
    """The process answers; nothing else is looked at."""
    return answer(Health())


@get("/readyz", tags=["status"], operation_class=documented(answers={200: Readiness, 503: Readiness}))
async def readyz(status_service: NamedDependency[StatusService]) -> Response[bytes]:
    """Whether chats and feedback would be accepted now."""
    readiness = await status_service.readiness()
    return answer(readiness, status=200 if readiness.ready else 503)


@get("/metrics", tags=["status"], include_in_schema=False)
async def metrics_page(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Prometheus' text format."""
    body, media_type = metrics.exposition()
    return Response(body, media_type=media_type.removesuffix("; charset=utf-8"))


@get(routes.STATUS, tags=["status"], operation_class=documented(answers={200: ServiceStatus}))
async def status(status_service: NamedDependency[StatusService]) -> Response[bytes]:
    """What is served, how much was recorded, and what the learner does."""
    return answer(await status_service.status())


PUBLIC_HANDLERS = [healthz, readyz, metrics_page]
HANDLERS = [status]
