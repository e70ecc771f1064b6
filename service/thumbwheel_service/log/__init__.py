"""The log table: append inside the writing transaction, read from an offset, relay to Kafka."""
