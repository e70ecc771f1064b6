"""Questions of the learner that people answer."""
