"""`python -m thumbwheel_service`: serve by the environment's settings."""

import sys

from thumbwheel.errors import ConfigurationError
from thumbwheel_service.server import run
from thumbwheel_service.settings import from_environment

if __name__ == "__main__":
    try:
        sys.exit(run(from_environment()))
    except ConfigurationError as error:
        sys.exit(str(error))
