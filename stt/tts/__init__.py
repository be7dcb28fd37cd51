"""Synthesizers: target text in, audio out. One file per engine."""
