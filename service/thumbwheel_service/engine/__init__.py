"""The inference engine behind the service: what it must do (`protocol`) and the one that does it (`vllm`)."""
