"""Where the shipped demo policy lies, for service and learner alike: what is served when no model is named."""

from importlib import import_module
from importlib.util import find_spec


def default_model() -> str | None:
    """The folder of the demo policy, or None when the demo is not installed; nothing heavy is imported."""
    if find_spec("thumbwheel_demo") is None:
        return None
    return str(import_module("thumbwheel_demo.policy.weights").weights_dir())
