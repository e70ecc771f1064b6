"""What a run of the demo found: its figures, their intervals, a page and a table."""
