"""Routes by who may call them and how much they may send."""

from litestar import Router
from litestar.types import ControllerRouterHandler

from thumbwheel_service.admin import routes as admin_routes
from thumbwheel_service.auth.guard import require
from thumbwheel_service.auth.rates import Rates
from thumbwheel_service.auth.service import KeyAuthenticator
from thumbwheel_service.chat import routes as chat_routes
from thumbwheel_service.erasure import routes as erasure_routes
from thumbwheel_service.feedback import routes as feedback_routes
from thumbwheel_service.log import routes as log_routes
from thumbwheel_service.policies import routes as policy_routes
from thumbwheel_service.reviews import routes as review_routes
from thumbwheel_service.settings import Limits
from thumbwheel_service.status import routes as status_routes
from thumbwheel_service.turns import routes as turn_routes


def routers(limits: Limits, authenticator: KeyAuthenticator) -> list[ControllerRouterHandler]:
    """Every route stands here, so that none is served without somebody having said to whom."""
    chat = [require(authenticator, "chat", _rates(limits.chats_per_minute))]
    caller = [require(authenticator, "chat", _rates(limits.calls_per_minute))]
    admin = [require(authenticator, "admin")]
    callers = [
        *feedback_routes.HANDLERS,
        *turn_routes.HANDLERS,
        *review_routes.HANDLERS,
        *status_routes.HANDLERS,
    ]
    admins = [*admin_routes.HANDLERS, *policy_routes.HANDLERS, *erasure_routes.HANDLERS]
    internal = [*log_routes.HANDLERS, *policy_routes.INTERNAL_HANDLERS, *erasure_routes.INTERNAL_HANDLERS]
    return [
        Router("/", route_handlers=status_routes.PUBLIC_HANDLERS),
        Router("/", route_handlers=chat_routes.HANDLERS, guards=chat, request_max_body_size=limits.chat_body_bytes),
        Router("/", route_handlers=callers, guards=caller, request_max_body_size=limits.body_bytes),
        Router("/", route_handlers=admins, guards=admin, request_max_body_size=limits.body_bytes),
        Router("/", route_handlers=internal, guards=admin, request_max_body_size=limits.internal_body_bytes),
    ]


def _rates(per_minute: int) -> Rates | None:
    return Rates(per_minute) if per_minute else None
