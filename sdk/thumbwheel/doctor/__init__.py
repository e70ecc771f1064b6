"""`thumbwheel doctor`: what is missing on this machine or misconfigured, and how to mend it."""

from thumbwheel.doctor.command import register
from thumbwheel.doctor.finding import Finding

__all__ = ["Finding", "register"]
