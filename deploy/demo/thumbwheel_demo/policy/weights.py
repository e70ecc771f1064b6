"""Where the shipped demo policy lies, so that nobody else spells out the path."""

from pathlib import Path


def weights_dir() -> Path:
    """Return the folder of the shipped demo policy, readable by transformers and vLLM alike."""
    return Path(__file__).parent / "weights"
