"""`python -m thumbwheel_learner`: learn by the environment's settings."""

import sys

from thumbwheel_learner.commands import learn_from_environment

if __name__ == "__main__":
    sys.exit(learn_from_environment({}))
