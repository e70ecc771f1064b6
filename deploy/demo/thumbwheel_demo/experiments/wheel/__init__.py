"""What each part of the wheel is worth."""
