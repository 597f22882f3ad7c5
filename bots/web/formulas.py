r"""Formulas as models write them, as MathML: ``\(…\)``, ``\[…\]``, ``$$…$$``, and ``$…$`` where that is no money.

A library reads LaTeX. What it writes is not passed on: it is parsed, and each element, attribute and value that is
known is written anew. A formula with anything else in it, or one that is too large, is shown as the code that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from xml.etree import ElementTree

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from math_core import LatexToMathML

MAX_SOURCE_CHARACTERS = 2_000
MAX_ELEMENTS = 1_500
MAX_DEPTH = 40
"""Of elements in each other, and of braces: the library reads what is nested on the stack."""
INLINE, BLOCK = "formula", "formula_block"
"""Types of tokens; the content is the LaTeX, and the markup what stands before and after it."""
_BEGIN = re.compile(r"\\\[|\$\$|\\begin\{((?:align|equation|gather|multline|eqnarray)(?:ed)?\*?)\}")
_ENDS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
# What models write and the library does not know.
_MACROS = {
    "dotsb": r"\cdots",
    "dotsc": r"\ldots",
    "mathbbm": r"\mathbb{#1}",
    "mathds": r"\mathbb{#1}",
    "pmb": r"\boldsymbol{#1}",
    "substack": r"\begin{subarray}{c}#1\end{subarray}",
    "textnormal": r"\text{#1}",
    "widetilde": r"\tilde{#1}",
}
_ENVIRONMENTS = {
    "align": "align*",
    "eqnarray": "align*",
    "equation": "equation*",
    "gather": "gather*",
    "multline": "multline*",
    "smallmatrix": "matrix",
    "split": "aligned",
}
"""No formula is numbered: a number would count all formulas of the page."""
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(\w+)\}")
_LABEL = re.compile(r"\\label\{[^{}]*\}|\\(?:nonumber|notag)\b")
_DEFINITION = re.compile(r"\\(?:[gex]?def|(?:future)?let|(?:new|renew|provide)command|csname)(?![A-Za-z])")
"""With definitions, few words can become very many."""
_TAG = re.compile(r"\\tag\*?\{([^{}]*)\}")
_NAMED = {"&ApplyFunction;": "\u2061", "&InvisibleTimes;": "\u2062"}
_HIDDEN = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

_FLAG = re.compile("true|false")
_LENGTH = re.compile(r"-?(?:[0-4]?(?:\.\d+)?em|0)")
VALUES = {
    "accent": _FLAG,
    "accentunder": _FLAG,
    "columnspan": re.compile("[1-9]"),
    "display": re.compile("block|inline"),
    "displaystyle": _FLAG,
    "form": re.compile("prefix|infix|postfix"),
    "height": _LENGTH,
    "linethickness": _LENGTH,
    "lspace": _LENGTH,
    "mathvariant": re.compile("normal"),
    "maxsize": _LENGTH,
    "minsize": _LENGTH,
    "movablelimits": _FLAG,
    "notation": re.compile("box|updiagonalstrike|downdiagonalstrike|updiagonalstrike downdiagonalstrike"),
    "rspace": _LENGTH,
    "scriptlevel": re.compile("[0-2]"),
    "stretchy": _FLAG,
    "symmetric": _FLAG,
    "voffset": _LENGTH,
    "width": _LENGTH,
}
_TAGS = "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub msubsup msup mtable"
ELEMENTS = frozenset(f"{_TAGS} mtd mtext mtr munder munderover".split())
_STYLES = {
    "border-right: 0.05em solid currentcolor": "line-right",
    "border-left: 0.05em solid currentcolor": "line-left",
    "border-top: 0.05em solid currentcolor": "line-above",
    "border-bottom: 0.05em solid currentcolor": "line-below",
    "padding-left: 0": "joined-left",
    "padding-left:0": "joined-left",
    "padding-left:1em": "apart",
    "padding-right: 0": "joined-right",
    "padding-right:0": "joined-right",
    "text-align: left": "left",
    "text-align: right": "right",
}
"""Styles and our words for them (``page.css``). All other styles, and colours, are left out."""
_FONTS = {"b": "bold", "i": "slanted", "em": "slanted", "code": "typed", "span": "", "u": "", "s": ""}
"""HTML in the text of a formula, and our words for it."""

_converter = LatexToMathML(macros=_MACROS, fancy_error=False, max_expansions=500)


@lru_cache(maxsize=1_000)
def to_mathml(latex: str, *, display: bool) -> str:
    """A formula as one line of MathML; "" if it can't be shown as one."""
    if len(latex) > MAX_SOURCE_CHARACTERS or not latex.strip() or _DEFINITION.search(latex):
        return ""
    if max(accumulate((sign == "{") - (sign == "}") for sign in latex)) > MAX_DEPTH:
        return ""
    plain = _TAG.sub(r"\\qquad\\text{(\1)}", _LABEL.sub("", _HIDDEN.sub("", latex)))
    plain = _ENVIRONMENT.sub(lambda found: rf"\{found[1]}{{{_ENVIRONMENTS.get(found[2], found[2])}}}", plain)
    try:
        written = _converter.convert_with_local_state(plain, displaystyle=display)
        for name, sign in _NAMED.items():
            written = written.replace(name, sign)
        tree = ElementTree.fromstring(written)  # noqa: S314 - without a document type there are no entities to expand
        if sum(1 for _ in tree.iter()) > MAX_ELEMENTS:
            return ""
        return "".join(_written(tree))
    except BaseException as error:
        # A panic of the library is no Exception; whatever it is, the formula is at fault and not the page.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return ""
        raise


def _written(element: ElementTree.Element, depth: int = 0) -> Iterator[str]:
    """An element with what is in it, tag by tag. Raises ValueError for what is unknown, or too deep."""
    if depth > MAX_DEPTH or element.tag not in ELEMENTS:
        raise ValueError(element.tag)
    words = [_STYLES[style] for style in element.get("style", "").split(";") if style in _STYLES]
    text = element.text or ""
    if element.tag == "mtext" and len(element):
        inner = [one for one in element.iter() if one is not element]
        words += [_FONTS[one.tag] for one in inner if _FONTS[one.tag]]
        text = "".join(element.itertext())
    yield f"<{element.tag}"
    for name, value in element.items():
        if name in ("style", "class"):
            continue
        if not VALUES[name].fullmatch(value):
            raise ValueError(name)
        yield f' {name}="{value}"'
    # Gradio's sanitizer leaves MathML no classes; this attribute stays, and means nothing to browsers.
    yield (f' align="{" ".join(dict.fromkeys(words))}"' if words else "") + ">"
    yield text.translate(_ESCAPES)
    if element.tag != "mtext":
        for child in element:
            yield from _written(child, depth + 1)
    yield f"</{element.tag}>"


_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;", "\n": " ", "\r": " "})


def with_formulas(parser: MarkdownIt) -> MarkdownIt:
    """Have a parser of Markdown find formulas."""
    parser.inline.ruler.before("escape", INLINE, _find_inline)
    parser.block.ruler.before("fence", BLOCK, _find_block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _find_inline(state: StateInline, silent: bool) -> bool:
    r"""``\(…\)``, ``\[…\]``, ``$$…$$`` or ``$…$`` inside a paragraph."""
    start, text = state.pos, state.src
    begin = next((one for one in _ENDS if text.startswith(one, start)), "")
    if not begin:
        return False
    at = start + len(begin)
    close = text.find(_ENDS[begin], at, at + MAX_SOURCE_CHARACTERS)
    content = text[at:close]
    if close < 0 or not content.strip() or "\n\n" in content or (begin == "$" and not _is_formula(text, start, close)):
        return False
    if not silent:
        token = state.push(INLINE, "", 0)
        token.content, token.markup = content, begin
    state.pos = close + len(_ENDS[begin])
    return True


def _is_formula(text: str, start: int, close: int) -> bool:
    """Whether what stands between two dollar signs is a formula, and no money and no variable of a shell."""
    before, inside, after = text[start - 1 : start], text[start + 1 : close], text[close + 1 : close + 2]
    return not (
        inside[0].isspace()
        or inside[-1].isspace()
        or inside[-1] == "\\"
        or "\n" in inside
        or "`" in inside
        or before.isalnum()
        or after.isalnum()
        or before in ("$", "\\")
        or after in ("$", "{", "_")
        or re.match(r"[\d.,]+\s+\w{2,}|\w+\s+\w+\s+\w+", inside)
    )


def _find_block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    r"""``\[``, ``$$`` or an environment at the beginning of a line, to its end at the end of one."""
    if state.is_code_block(first):
        return False
    line = state.src[state.bMarks[first] + state.tShift[first] : state.eMarks[first]].rstrip()
    found = _BEGIN.match(line)
    if not found:
        return False
    begin, number, lines = found[0], first, [line[found.end() :]]
    end = _ENDS.get(begin) or f"\\end{{{found[1]}}}"
    while not lines[-1].endswith(end):
        number += 1
        outside = number >= last or state.isEmpty(number) or state.sCount[number] < state.blkIndent
        if outside or sum(map(len, lines)) > MAX_SOURCE_CHARACTERS:
            return False
        lines.append(state.getLines(number, number + 1, state.blkIndent, False).strip())
    lines[-1] = lines[-1].removesuffix(end)
    if any(end in one for one in lines) or not "".join(lines).strip():
        return False
    if not silent:
        token = state.push(BLOCK, "", 0)
        content = "\n".join(lines)
        token.content, token.markup = (content, begin) if begin in _ENDS else (f"{begin}{content}{end}", "")
        token.map = [first, number + 1]
        state.line = number + 1
    return True


def source(content: str, begin: str) -> str:
    """A formula as it was written."""
    return f"{begin}{content}{_ENDS.get(begin, '')}"
