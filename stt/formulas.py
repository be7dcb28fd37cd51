"""LaTeX and powers in a sentence, as they would be read aloud."""

from __future__ import annotations

import re
import unicodedata

_ARITHMETIC = r"(?:\\[A-Za-z]+(?:\{[^{}$]*\})?|\\.|[A-Za-z](?![A-Za-z])|[^$%A-Za-z\\])++"
_FORMULA = re.compile(
    r"\$\$(?=\S)([^$]+)\$\$|\$(?=[^$\d\s]|[^$\s]*[\\^])([^$]*[^$\s])\$(?!\d)"
    rf"|\$(?=\d[^$]*[\\^=+*/<>-])({_ARITHMETIC})(?<=[^\s(])\$(?!\w)|\\\(.*?\\\)|\\\[.*?\\\]"
)
"""Between its marks; not before an amount ($5 and $10, $5 to $7 (+40%) and 3$) or a name ($HOME and $PATH)."""
_BOUND = r"(?:\{([^{}]*)\}|(\\[A-Za-z]+|\w))"
_BOUNDS = re.compile(rf"\\(sum|prod|int)\s*_{_BOUND}\s*\^{_BOUND}")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
_GROUP = re.compile(r"\\(sqrt|text|mathrm|mathbf)\{([^{}]*)\}")
_COMMANDS = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "neq": "≠", "ne": "≠", "leq": "≤", "le": "≤", "geq": "≥",
    "ge": "≥", "approx": "is about", "infty": "infinity", "sum": "the sum of", "int": "the integral of", "pi": "pi",
    "alpha": "alpha", "beta": "beta", "gamma": "gamma", "theta": "theta", "lambda": "lambda", "sigma": "sigma",
    "omega": "omega", "phi": "phi", "mu": "mu", "Delta": "Delta", "prod": "the product of", "log": "log", "ln": "ln",
    "sin": "sin", "cos": "cos", "tan": "tan", "left": "", "right": "", "quad": "", "to": "→", "rightarrow": "→",
    "in": "in", "ldots": "…", "dots": "…",
}  # fmt: skip
_COMMAND = re.compile(rf"(?<![A-Za-z]{{2}})\\({'|'.join(_COMMANDS)})(?![A-Za-z])")
_OTHER = re.compile(
    rf"\\(?:[,;:! ]|(?!(?:{'|'.join(_COMMANDS)}|[dt]?frac|sqrt|text|mathrm|mathbf)(?![A-Za-z]))[A-Za-z]+(\{{)?)"
)
"""In a formula: dropped, though not what it holds. Elsewhere it may be a path."""
_POWER = re.compile(r"(?<=[\w)\]])(?:\^|(?<=\d)\*\*(?=\d))(?:\{([^{}]+)\}|(-?\w+))")
_BASE = r"(?:(?<=[\d)\]])|(?<=\b[A-Za-z])|(?<=\b[ckm]m)|(?<=\bmc))"
_RAISED = re.compile(_BASE + r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
"""A power, not a footnote: its compatibility form would make 102 of 10²."""
_RAISED_TAG = re.compile(
    rf"{_BASE}<sup>\s*(?!(?:st|nd|rd|th)\b)([-+\u2212]?\w[\w+\u2212-]*)\s*</sup>", re.IGNORECASE
)
"""A power, too; not the end of an ordinal."""
_MARKS = re.compile(r"[\\$^⁰¹²³⁴⁵⁶⁷⁸⁹]|\d\*\*\d|<sup>", re.IGNORECASE)


def read_aloud(text: str) -> str:
    """`text` without the markup of its formulas; what is no formula stays as it is."""
    if not _MARKS.search(text):
        return text
    text = _FORMULA.sub(_formula, text)
    text = _BOUNDS.sub(_bounds, text)
    text = _RAISED_TAG.sub(r"^{\1}", text)
    text = _RAISED.sub(_raised, text)
    while (
        said := _GROUP.sub(_group, _FRACTION.sub(r" \1 / \2 ", _POWER.sub(_power, text)))
    ) != text:
        text = said
    return _COMMAND.sub(lambda found: f" {_COMMANDS[found[1]]} ", text)


def _formula(found: re.Match[str]) -> str:
    inside = found[1] or found[2] or found[3] or found[0]
    return _OTHER.sub(lambda other: r"\text{" if other[1] else " ", inside)


def _bounds(found: re.Match[str]) -> str:
    said, _, _ = _COMMANDS[found[1]].rpartition(" of")
    return f" {said} from {found[2] or found[3]} to {found[4] or found[5]} of "


def _raised(found: re.Match[str]) -> str:
    return "^" + unicodedata.normalize("NFKC", found[0]).replace("−", "-").lstrip("+")


def _power(found: re.Match[str]) -> str:
    power = found[1] or found[2]
    return {"2": " squared", "3": " cubed"}.get(power, f" to the power of {power}")


def _group(found: re.Match[str]) -> str:
    return f" the square root of {found[2]} " if found[1] == "sqrt" else found[2]
