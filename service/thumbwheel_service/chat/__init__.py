"""Chat completions in OpenAI's words: answered by the live policy, recorded whole, never held back."""
