"""The page at `/docs`: the OpenAPI document as plain HTML, without a script or anything from elsewhere.

The usual viewers load their scripts from a content network; on a service that trusts whoever sits at this machine, such
a script could chat and vote.
"""

import json
import re
from collections import defaultdict
from html import escape
from typing import Any

from litestar.openapi.plugins import OpenAPIRenderPlugin

from thumbwheel_service.http import AnyRequest

_METHODS = ("get", "post", "put", "patch", "delete")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d1d1f }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; text-transform: capitalize }
details { margin: .4rem 0; border: 1px solid #ddd; border-radius: 6px; padding: .5rem .8rem }
summary { cursor: pointer } summary .about { margin-left: 1rem } code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f6f6f8; padding: .7rem; border-radius: 6px; overflow-x: auto }
.method { display: inline-block; width: 5rem; font-weight: 700 } .post { color: #1a7f37 } .delete { color: #b42318 }
.get { color: #0a58ca } .about { color: #666 } table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0 }
@media (prefers-color-scheme: dark) {
  body { background: #161618; color: #e8e8ea } pre { background: #222226 } details, h2 { border-color: #3a3a3e }
}
"""


class DocsPage(OpenAPIRenderPlugin):
    """Renders the document on the server."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        """The whole page."""
        return page(openapi_schema).encode()


def page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document, grouped by tag."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                groups[(item[method].get("tags") or ["other"])[0]].append(_operation(method, path, item[method]))
    info = document["info"]
    parts = [f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in sorted(groups.items())]
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>'
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} API <small class=about>{escape(info['version'])}</small></h1>"
        f'<p>For machines: <a href="/docs/openapi.json">openapi.json</a>.</p>'
        f"{''.join(parts)}<h2>schemas</h2>{schemas}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    about = str(operation.get("description") or "").strip()
    parameters: list[dict[str, Any]] = operation.get("parameters") or []
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td class=about>{escape(p['in'])}</td>"
        f"<td>{_prose(str(p.get('description') or ''))}</td></tr>"
        for p in parameters
    )
    body = "".join(
        f"<p>Body, <code>{escape(kind)}</code>: {_named(content['schema'])}</p>"
        f"{_json(content['schema']) if '$ref' not in content['schema'] else ''}"
        for kind, content in _content(operation.get("requestBody")).items()
    )
    answers = "".join(_answer(status, answer) for status, answer in operation["responses"].items())
    return (
        f'<details><summary><span class="method {method}">{method.upper()}</span><code>{escape(path)}</code> '
        f"<span class=about>{_prose(about.partition(chr(10))[0])}</span></summary>"
        f"<p>{_prose(about)}</p>{f'<table>{rows}</table>' if rows else ''}{body}<p>Answers:</p>"
        f"<table>{answers}</table></details>"
    )


def _answer(status: str, answer: dict[str, Any]) -> str:
    names = [
        f"<code>{escape(kind)}</code> {_named(content['schema'])}"
        for kind, content in answer.get("content", {}).items()
    ]
    meaning = escape(str(answer.get("description") or ""))
    return f"<tr><td><code>{escape(status)}</code></td><td>{meaning}</td><td>{' '.join(names)}</td></tr>"


def _content(part: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Media types of a body or an answer; neither has to have any."""
    found: dict[str, dict[str, Any]] = (part or {}).get("content") or {}
    return found


def _named(schema: dict[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f'<a href="#{escape(name)}">{escape(name)}</a>' if name else ""


def _prose(text: str) -> str:
    """A description as HTML, with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
