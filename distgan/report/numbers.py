"""Numbers, dates, durations and settings as text for readers."""

import math
import re
from datetime import UTC, datetime


def short(value: float) -> str:
    """Return a number in a few characters: 0.0312, 1e-5, 12.5k, 3M."""
    size = abs(value)
    if size >= 1e4 and math.isfinite(value):
        unit, letter = next((unit, letter) for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if size >= unit)
        return _minus(f"{value / unit:.4g}{letter}")
    text = f"{value:.3g}" if size < 1000 else f"{value:,.4g}"
    return _minus(re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), text))


def whole(value: float) -> str:
    """Return a whole number with separators of thousands."""
    return _minus(f"{round(value):,}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else text


def date(seconds: float) -> str:
    """Return a time, given in seconds since 1970, in UTC to the minute."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """Return seconds as text: 45s, 2m05s, 30h02m; ? if NaN or infinite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds, to three digits."""
    return f"{short(1000 * seconds)} ms"


def setting(value: object) -> str:
    """Return a value of a config as it is written in a flag."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
