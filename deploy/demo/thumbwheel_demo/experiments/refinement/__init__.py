"""What answers to critiques are worth."""
