"""A Markdown report as one HTML file that needs nothing else: pictures inside, no scripts, no network."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping

_STYLE = """
:root { color-scheme: light dark; --ink: #212529; --soft: #6e757d; --line: #d6dce0; --ground: #fff; --band: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa2aa; --line: #3a4046; --ground: #16191c; --band: #1f2428; }
  img { filter: brightness(.92); border-radius: 6px; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--ground);
       max-width: 76rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.6rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tbody tr:nth-child(odd) { background: var(--band); }
pre { background: var(--band); padding: .8rem 1rem; overflow-x: auto; font-size: .8rem; border-radius: 6px; }
img { max-width: 100%; height: auto; background: #fff; } em { color: var(--soft); }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--soft); }
"""
_PICTURE = re.compile(r'src="figures/([^"]+)\.png"')


def page(title: str, text: str, images: Mapping[str, bytes]) -> str:
    """A whole HTML document.

    Args:
        title: of the document.
        text: Markdown; HTML in it is shown as text, not obeyed.
        images: PNG files by name; the text refers to them as `figures/NAME.png`.
    """
    from markdown import Markdown

    reader = Markdown(extensions=["tables", "fenced_code", "sane_lists"], output_format="html")
    reader.preprocessors.deregister("html_block")
    reader.inlinePatterns.deregister("html")
    body = reader.convert(text)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")

    def inside(found: re.Match[str]) -> str:
        data = images.get(html.unescape(found[1]))
        return found[0] if data is None else f'src="data:image/png;base64,{base64.b64encode(data).decode()}"'

    body = _PICTURE.sub(inside, body)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )
