"""The store from the bus anew: a rebuild beside it to compare with, and offsets that are set back."""
