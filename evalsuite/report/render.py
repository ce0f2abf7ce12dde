"""Self-contained HTML: one template with its style and script inside, and a policy that allows no
other.

Text is escaped by the template engine; the content security policy names the digests of our own
style and script, so nothing else runs and nothing is fetched, whatever a summary contains.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from evalsuite.tables import write_atomically


def write_html(
    path: Path, template: str, *, styles: tuple[str, ...], script: str, **values: object
) -> Path:
    """Render `template` with the named files of `templates/` inside, atomically; return the path.

    The template gets css, js, csp and `values`. The same values give the same bytes.
    """
    css, js = "\n".join(_text(name) for name in styles), _text(script)
    csp = (
        f"default-src 'none'; img-src data:; style-src '{_digest(css)}'; "
        f"script-src '{_digest(js)}'; base-uri 'none'; form-action 'none'"
    )
    html = (
        _environment()
        .get_template(template)
        .render(css=Markup(css), js=Markup(js), csp=Markup(csp), **values)
    )
    # A lone surrogate in somebody's text must not keep the page from being written.
    write_atomically(path, lambda temporary: temporary.write_bytes(html.encode("utf-8", "replace")))
    return path


def data_block(value: object) -> Markup:
    """JSON for a `<script type="application/json">`: no text in it can end the element.

    NaN must have been made None before.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("evalsuite.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _text(name: str) -> str:
    return (resources.files("evalsuite.report") / "templates" / name).read_text("utf-8")
