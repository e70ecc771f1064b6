"""Answers written anew after what people found wrong with them."""
