"""What each part of the wheel is worth: the same demo with parts of it taken away."""
