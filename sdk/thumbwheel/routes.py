"""The public HTTP routes, agreed between SDK and service.

POST   /v1/chat/completions            OpenAI's body                      -> OpenAI's body + `thumbwheel: ChatStamp`
GET    /v1/models
POST   /v1/feedback                    types.Feedback                     -> FeedbackRecord
POST   /v1/feedback/batch              FeedbackBatch                      -> FeedbackBatchResult
GET    /v1/feedback                    ?completion_id&conversation_id&user&policy_version&kind*&retracted
                                       &since&until&cursor&limit          -> FeedbackPage
GET    /v1/feedback/{feedback_id}                                         -> FeedbackRecord
DELETE /v1/feedback/{feedback_id}                                         -> FeedbackRecord (retracted)
GET    /v1/feedback/{feedback_id}/history                                 -> FeedbackHistory
POST   /v1/turns                       TurnIn                             -> Turn
GET    /v1/turns                       ?completion_id*&conversation_id&user&policy_version
                                       &since&until&cursor&limit          -> TurnPage
GET    /v1/turns/{completion_id}                                          -> Turn
GET    /v1/reviews                     ?cursor&limit                      -> ReviewPage (open ones)
POST   /v1/reviews/{review_id}/answer  ReviewAnswer                       -> FeedbackRecord
DELETE /v1/users/{user}                                         (admin)   -> Erasure
DELETE /v1/conversations/{conversation_id}                      (admin)   -> Erasure
GET    /v1/erasures                                             (admin)   -> ErasureList
GET    /v1/erasures/{erasure_id}                                (admin)   -> Erasure
GET    /v1/status                                                         -> ServiceStatus
GET    /v1/policies                                             (admin)   -> PolicyList
POST   /v1/policies/{version}/promote                           (admin)   -> PolicyList
POST   /v1/policies/rollback           RollbackIn               (admin)   -> PolicyList
POST   /v1/learner/commands            LearnerCommandIn         (admin)   -> LearnerCommandIn

A parameter with * may be repeated; `since` and `until` are RFC 3339 times with an offset.
"""

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
FEEDBACK = "/v1/feedback"
FEEDBACK_BATCH = "/v1/feedback/batch"
FEEDBACK_ONE = "/v1/feedback/{feedback_id}"
FEEDBACK_HISTORY = "/v1/feedback/{feedback_id}/history"
TURNS = "/v1/turns"
TURN = "/v1/turns/{completion_id}"
REVIEWS = "/v1/reviews"
REVIEW_ANSWER = "/v1/reviews/{review_id}/answer"
USER = "/v1/users/{user}"
CONVERSATION = "/v1/conversations/{conversation_id}"
ERASURES = "/v1/erasures"
ERASURE = "/v1/erasures/{erasure_id}"
STATUS = "/v1/status"
POLICIES = "/v1/policies"
POLICY = "/v1/policies/{version}"
POLICY_PROMOTE = "/v1/policies/{version}/promote"
POLICY_ROLLBACK = "/v1/policies/rollback"
LEARNER_COMMANDS = "/v1/learner/commands"

IDEMPOTENCY_HEADER = "idempotency-key"
IN_FLIGHT_CODE = "idempotency_in_flight"
"""Problem code of the one 409 that is worth a retry: the first request under this key is still being served."""
