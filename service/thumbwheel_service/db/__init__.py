"""Tables, the engine and the single writer."""
