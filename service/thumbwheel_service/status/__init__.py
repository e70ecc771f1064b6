"""Health, readiness, status and metrics."""
