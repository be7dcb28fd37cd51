"""Streaming translation and text-to-speech, measured: English text in, speech in another language out."""

__version__ = "0.1.0"
