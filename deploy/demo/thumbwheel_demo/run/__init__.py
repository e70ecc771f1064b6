"""The runner: a real service and a real learner, people around them, and a stopwatch."""
