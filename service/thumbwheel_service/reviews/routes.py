"""`/v1/reviews`: what the learner would like to know, and the way to tell it."""

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency

from thumbwheel import routes
from thumbwheel.types import FeedbackRecord, ReviewAnswer, ReviewPage
from thumbwheel_service.auth.guard import caller
from thumbwheel_service.http import AnyRequest, Cursor, Limit, PathId, answer, decode, read_body, typed
from thumbwheel_service.idempotency import once, respond
from thumbwheel_service.openapi import documented
from thumbwheel_service.parameters import refuse_unknown_parameters
from thumbwheel_service.reviews.service import ReviewService

_answer = msgspec.json.Decoder(ReviewAnswer)


@get(routes.REVIEWS, tags=["reviews"], operation_class=documented(answers={200: ReviewPage}, errors=(400,)))
async def list_reviews(
    request: AnyRequest, review_service: NamedDependency[ReviewService], cursor: Cursor = None, limit: Limit = 50
) -> Response[bytes]:
    """Open questions newest first, with the conversation and the answers that they are about.

    A `judge` asks whether `answer` is good, or what it should have been; a `compare` which of `answer` and
    `other_answer` is better.
    """
    refuse_unknown_parameters(request)
    return answer(await review_service.page(caller(request).tenant, cursor=cursor, limit=limit))


@post(
    typed(routes.REVIEW_ANSWER),
    tags=["reviews"],
    operation_class=documented(
        body=ReviewAnswer, answers={201: FeedbackRecord}, errors=(404, 409, 410), idempotent=True
    ),
)
async def answer_review(
    request: AnyRequest, review_service: NamedDependency[ReviewService], review_id: PathId
) -> Response[bytes]:
    """Answer a question: it becomes ordinary feedback, and the question is closed.

    A 409 says that it is answered already, too late, or withdrawn.
    """
    body = await read_body(request)
    tenant = caller(request).tenant
    request_once = once(request, tenant, body)
    result = await review_service.answer(tenant, review_id, decode(_answer, body), request_once)
    return respond(result, request_once)


HANDLERS = [list_reviews, answer_review]
