"""From stored events to frozen snapshots."""
