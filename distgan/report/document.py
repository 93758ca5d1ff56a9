"""Pages from templates: values are escaped, only the package's scripts run, and nothing is loaded."""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from distgan.report import numbers

TEMPLATES = Path(__file__).parent / "templates"
CSS = ("uPlot.min.css", "page.css")
JS = ("uPlot.iife.min.js", "page.js")
_text_of = functools.cache(lambda names: "".join((TEMPLATES / name).read_text() for name in names))  # a page a sample
_NUMBER = re.compile(r"\N{MINUS SIGN}?\d")  # begins a table cell that is not broken into lines
_UNFIT = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that HTML does not allow


def _fit(value: Any) -> Any:
    """Convert a template's value: None to an empty text, and characters that HTML does not allow to a replacement."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else _UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(value))


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    finalize=_fit,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"date": numbers.date, "short": numbers.short, "whole": numbers.whole}
_ENVIRONMENT.tests["number_in_words"] = lambda cell: _NUMBER.match(str(cell))


def render(template: str, css: Sequence[str] = CSS, js: Sequence[str] = JS, **values: Any) -> bytes:
    """Render a page's template with styles and scripts embedded."""
    style, script = _text_of(tuple(css)), _text_of(tuple(js))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    page = _ENVIRONMENT.get_template(template)
    return page.render(policy=policy, style=style, script=script, **values).encode()
