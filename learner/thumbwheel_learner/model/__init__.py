"""The frozen base in memory and the adapters on it."""
