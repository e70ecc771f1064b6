"""The simulated support desk: a place where the wheel can be seen turning without real people."""
