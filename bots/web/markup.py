"""Markdown as HTML that is written here, tag by tag, from a parsed document: nothing else reads the text as markup.

Gradio reads every message with a Markdown parser of its own, obeys the HTML in it, and draws diagrams. So it gets lines
that its parser passes on as they are, each one block of HTML, with blank lines between them. Only code goes to it as
fenced code, which it colours; the fence is longer than any in the code.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.markdown import fence_lines, is_honest_link

_TAGS = frozenset(
    "p h1 h2 h3 h4 h5 h6 ul ol li blockquote hr table thead tbody tr th td strong em s".split()  # noqa: SIM905
)
# What Gradio can colour, by the names that models give it. Some other words are names of its own functions.
_LANGUAGES = {
    **{name: name for name in ("python", "latex", "bash", "c", "cpp", "json", "sql", "java", "go", "rust", "php")},
    **{name: name for name in ("yaml", "markup", "css", "javascript")},
    "py": "python",
    "tex": "latex",
    "sh": "bash",
    "shell": "bash",
    "zsh": "bash",
    "c++": "cpp",
    "rs": "rust",
    "yml": "yaml",
    "html": "markup",
    "xml": "markup",
    "svg": "markup",
    "js": "javascript",
    "golang": "go",
}
_HIDDEN = "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_ADDRESS = re.compile(rf"https?://[^\s<>\"'`{_HIDDEN}]+", re.IGNORECASE)
_ALLOWED = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]", re.IGNORECASE)
_DISGUISES = re.compile(f"[{_HIDDEN}]")
_TICKS = re.compile(r"`+")
_GAP = re.compile(r"(?<!\n)\n{2,}+(?=\S)")
_DEFINITION = re.compile(r"^[ >]*\[[^\]\n]+\]:", re.MULTILINE)
_MOST_SIGNS = {"[": 300, "*": 3_000, "_": 3_000, "~": 3_000, "`": 3_000}
_MOST_CELLS = 20_000
"""Of one table, and signs in one paragraph. With more it is no text, takes the parser long, and is shown as it is."""
# A percent sign could begin one of Gradio's own place-holders.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "%": "&#37;", "\n": " ", "\r": " "}
)


class _Markdown(MarkdownIt):
    """CommonMark with tables and strikethrough, and without HTML. What leads elsewhere than to the web stays text."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - its name there
        return bool(_ALLOWED.match(html.unescape(url)))

    def normalizeLink(self, url: str) -> str:  # noqa: N802 - its name there
        return url  # browsers do that; as it was written, it can be compared with its label


_PARSER = _Markdown("commonmark", {"html": False, "maxNesting": 100}).enable(["table", "strikethrough"])


def escape(text: str) -> str:
    """``text`` as HTML on one line that shows it as it is."""
    return text.translate(_ESCAPES)


def to_html(text: str) -> str:
    """What Gradio shows as the Markdown in ``text``: blocks of HTML, and fenced code."""
    return "\n\n".join(filter(None, map(_piece, _pieces(text))))


def _pieces(text: str) -> Iterator[str]:
    """``text`` cut between paragraphs, so that of a growing one only the end is read again."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _DEFINITION.search(text):
        yield text  # what is defined anywhere counts everywhere
        return
    at = 0
    for start, end in [*_outside_fences(text), (len(text), len(text))]:
        for gap in _GAP.finditer(text, start, end):
            yield text[at : gap.start()]
            at = gap.end()
    yield text[at:]


def _outside_fences(text: str) -> Iterator[tuple[int, int]]:
    at: int | None = 0
    for line, fence in fence_lines(text):
        if fence and at is not None:
            yield at, line.start()
        at = None if fence else line.end()
    if at is not None:
        yield at, len(text)


@lru_cache(maxsize=1_000)
def _piece(text: str) -> str:
    lines = text.split("\n")
    cells = len(lines) * max(line.count("|") for line in lines)
    if cells > _MOST_CELLS or any(text.count(sign) > most for sign, most in _MOST_SIGNS.items()):
        return f"<p>{'<br>'.join(map(escape, lines))}</p>"
    return "\n\n".join(_blocks(_PARSER.parse(text)))


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """Each block on a line that begins with a tag; code as a block of its own, also where it stands in a list."""
    line: list[str] = []
    for token in tokens:
        if token.type in ("fence", "code_block"):
            if line:
                yield "".join(line)
            yield _code(token)
            line = []
            continue
        line.append("".join(_inline(token.children or [])) if token.type == "inline" else _tag(token))
        if token.level == 0 and token.nesting <= 0:
            yield "".join(line)
            line = []


def _tag(token: Token) -> str:
    if token.tag not in _TAGS:
        return escape(token.content)
    start = f' start="{int(token.attrs["start"])}"' if "start" in token.attrs else ""
    return f"<{'/' * (token.nesting < 0)}{token.tag}{start}>"


def _code(token: Token) -> str:
    language = _LANGUAGES.get(token.info.split()[0].lower(), "") if token.info.strip() else ""
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(token.content)), default=0))
    code = token.content.removesuffix("\n")
    return f"{fence}{language}\n{code}\n{fence}"


def _inline(tokens: Sequence[Token], *, in_link: bool = False) -> Iterator[str]:
    """A paragraph's text. An image becomes a link to it."""
    target, label = "", list[Token]()
    for token in tokens:
        if token.type == "link_open":
            target, label = str(token.attrs["href"]), []
        elif token.type == "link_close":
            yield _link(target, label)
            target = ""
        elif target:
            label.append(token)
        elif token.type == "image":
            yield _plain(token) if in_link else _link(str(token.attrs["src"]), token.children or [])
        elif token.type == "text":
            yield escape(token.content) if in_link else _with_links(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            yield "<br>"
        elif token.type == "code_inline":
            yield f"<code>{escape(token.content)}</code>"
        else:
            yield _tag(token)


def _link(target: str, label: Sequence[Token]) -> str:
    """A link that shows its label, or where it leads if the label says otherwise, or nothing."""
    said = _DISGUISES.sub("", "".join(map(_plain, label)))
    honest = said.strip() and is_honest_link(said, target)
    shown = _DISGUISES.sub("", "".join(_inline(label, in_link=True))) if honest else escape(target)
    return f'<a href="{escape(target)}" target="_blank" rel="noopener noreferrer">{shown}</a>'


def _plain(token: Token) -> str:
    """What somebody reads of a token."""
    if token.type == "image":
        return "".join(map(_plain, token.children or []))
    return " " if token.type in ("softbreak", "hardbreak") else token.content


def _with_links(text: str) -> str:
    """``text`` with the addresses in it as links."""
    parts, at = list[str](), 0
    for found in _ADDRESS.finditer(text):
        address = _without_ending(found[0])
        end = found.start() + len(address)
        parts += [escape(text[at : found.start()]), _link(address, [Token("text", "", 0, content=address)])]
        at = end
    return "".join([*parts, escape(text[at:])])


def _without_ending(address: str) -> str:
    """An address without the end of the sentence, or of the parentheses, in which it stands."""
    end, unopened = len(address), address.count(")") - address.count("(")
    while address[end - 1] in ".,:;!?*_~])" and (address[end - 1] != ")" or unopened > 0):
        unopened -= address[end - 1] == ")"
        end -= 1
    return address[:end]
