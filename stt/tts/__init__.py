"""Synthesizers: target text in, audio out. One file per engine, and what services need not be asked for."""


def sayable(text: str) -> bool:
    """Is there a letter or a figure in it? A service would answer anything else with an error, or with nothing."""
    return any(map(str.isalnum, text))
