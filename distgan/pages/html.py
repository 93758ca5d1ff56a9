"""HTML that is well-formed XML, in which text from outside stays text."""

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from pathlib import Path

VOID = ("img", "meta", "br")  # elements that hold nothing
STYLE = (Path(__file__).parent / "page.css").read_text()
SCRIPT = (Path(__file__).parent / "page.js").read_text()
_UNFIT = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML has no room for


class Html(str):
    """Text that is HTML already; any other is escaped where it becomes a part of it."""

    __slots__ = ()


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; of attributes, those of None are left out, `class_` is class, and `data_x` is data-x."""
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    content = join(*children)
    return Html(f"<{name}{''.join(written)}" + (f">{content}</{name}>" if content or name not in VOID else "/>"))


def join(*parts: object) -> Html:
    """Parts one after the other, those that are no HTML escaped, None left out."""
    return Html("".join(part if isinstance(part, Html) else _escaped(part) for part in parts if part is not None))


def _escaped(value: object) -> str:
    return html.escape(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def table(heads: Iterable[object], rows: Iterable[Iterable[object]], class_: str | None = None) -> Html:
    """A table, in which the first of a row heads it, and numbers are not broken."""
    head = element("tr", *(element("th", one, scope="col") for one in heads))
    body = [element("tr", *(_cell(number, one) for number, one in enumerate(row))) for row in rows]
    whole = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", whole, class_="scroll")


def _cell(number: int, content: object) -> Html:
    if number == 0:
        return element("th", content, scope="row")
    is_number = bool(re.match(r"\N{MINUS SIGN}?\d", str(content))) and not isinstance(content, Html)
    return element("td", content, class_="number" if is_number else None)


def section(title: str, *children: object, id_: str | None = None) -> Html:
    """A section under its title; nothing where there is nothing in it."""
    content = join(*children)
    return element("section", element("h2", title), content, id_=id_) if content else content


def document(title: str, *body: object) -> bytes:
    """The file of a page. No script but ours may run in it, and nothing is loaded."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    whole = element("html", head, element("body", element("main", *body), element("script", Html(SCRIPT))), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n".encode()
