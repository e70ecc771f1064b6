"""Forgetting somebody: rows deleted, keys destroyed, the learner told, and all of it again after a restore."""
