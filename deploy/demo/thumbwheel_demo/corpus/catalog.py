"""All intents in one place, so that no other module needs to know the files they are written in."""

from thumbwheel_demo.corpus.intents_account import ACCOUNT
from thumbwheel_demo.corpus.intents_orders import ORDERS
from thumbwheel_demo.corpus.intents_payment import PAYMENT
from thumbwheel_demo.corpus.intents_returns import RETURNS
from thumbwheel_demo.corpus.model import Intent

INTENTS: tuple[Intent, ...] = ORDERS + RETURNS + PAYMENT + ACCOUNT
BY_NAME: dict[str, Intent] = {intent.name: intent for intent in INTENTS}
