"""The demo policy: a small transformer trained from scratch on the desk's corpus."""

from thumbwheel_demo.policy.weights import weights_dir

__all__ = ["weights_dir"]
