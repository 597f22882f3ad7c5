"""Formulas in messages: what becomes MathML, what stays as it was written, and that nothing else comes of them."""

from __future__ import annotations

import re
import threading
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.web.formulas import ELEMENTS, MAX_DEPTH, MAX_SOURCE_CHARACTERS, VALUES, to_mathml
from bots.web.markup import to_html

X = "<math><mi>x</mi></math>"
SHOWN = '<math display="block"><mi>x</mi></math>'
BLOCK = f'<div class="formula">{SHOWN}</div>'
WRITTEN = (
    *(r"\frac", r"\sqrt", r"\left(", r"\right)", r"\begin{matrix}", r"\end{matrix}", r"\begin{aligned}", r"\text{"),
    *("{", "}", "^", "_", "&", r"\\", "x", "1", " ", "'", "$", "%", "<", "&lt;", "\n", "é", "\ud800", "\x00", "\u202e"),
    *(r"\def\a{\a\a}", r"\a", r"\newcommand{\b}[1]{#1#1}", r"\b", r"\let\c=\b", r"\tag{1}", r"\label{x}", r"\ref{x}"),
    *(r"\color{red}", r"\colorbox{red}{x}", r"\hspace{999em}", r"\hspace{1em}", r"\rule{9em}{9em}", r"\raisebox{99em}"),
    *(r"\href{/evil}{x}", r"\style{position:fixed}{x}", r"\class{x}{y}", r"\includegraphics{x}", r"\unicode{x202e}"),
    *(r"\mathbb", r"\mathbf", r"\hat", r"\underbrace", r"\cancel", r"\boxed", r"\genfrac(){99em}{0}", r"\sum\limits"),
    *(
        r"\text{<img src=x>}",
        r"\text{\textbf{b}}",
        r"\operatorname{",
        r"\prescript",
        r"\sideset",
        r"\substack{",
        r"\hline",
    ),
)


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (r"\(x\), \[x\], $x$", f"<p>{X}, {SHOWN}, {X}</p>"),
        ("so:\n\\[\nx\n\\]\nthen", f"<p>so:</p>\n\n{BLOCK}\n\n<p>then</p>"),
        ("$$x$$", BLOCK),
        ("$$x$$ and $$x$$", f"<p>{SHOWN} and {SHOWN}</p>"),
        ("- so:\n  $$\n  x\n  $$\n- \\(x\\)", f"<ul><li><p>so:</p>{BLOCK}</li><li><p>{X}</p></li></ul>"),
        ("> $$x$$", f"<blockquote>{BLOCK}</blockquote>"),
        (r"\begin{equation}x\end{equation}", re.compile(r'<div class="formula"><math display="block">.*')),
        ("| $x$ |\n|---|\n| \\(x\\) |", re.compile(f".*<th>{X}</th>.*<td>{X}</td>.*")),
        ("**so $x$**", f"<p><strong>so {X}</strong></p>"),
        (r"\(a^{*}b^{*}\) and \(a_1\) and \(a_2\)", re.compile(r"<p>(<math>(?:(?!em>).)*</math>( and )?){3}</p>")),
        (r"[\(x\)](http://a.example)", re.compile(r'<p><a href="http://a.example" [^>]*><math>.*</math></a></p>')),
    ],
)
def test_formulas_are_shown_as_formulas(written: str, seen: str | re.Pattern[str]) -> None:
    """In each way in which models write them, and wherever Markdown can stand."""
    shown = to_html(written).replace(' dir="auto"', "")
    assert re.fullmatch(seen, shown) if isinstance(seen, re.Pattern) else shown == seen


@pytest.mark.parametrize(
    "text",
    [
        *("$5 and $10", "between $5 and $10.", "US$5 or CA$10", "$5-$10", "$1,000 to $2,000", "$5 million or 5 $ here"),
        *("$HOME/bin:$PATH", "echo $A and $B", "a $ b $ c", "$ x $", "$$", "$$$$", "$x", "x$", "$a\nb$"),
        *("costs $5, not $x", "$20k vs $30k", "A$AP and B$", "\\(", "\\( \\)"),
    ],
)
def test_money_and_shells_are_no_formulas(text: str) -> None:
    """Dollar signs stay dollar signs."""
    assert "<math" not in to_html(text)
    assert to_html(text).count("$") == text.count("$")


@pytest.mark.parametrize("text", [r"`\(x\)`", "`$x$`", "```\n$$x$$\n```", "    \\[x\\]", r"\\(x\\)", r"\$x\$"])
def test_code_and_escapes_are_no_formulas(text: str) -> None:
    """A formula that is written about is not drawn."""
    assert "<math" not in to_html(text)


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{-b \pm \sqrt{b^2-4ac}}{2a}",
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"\begin{aligned} a &= b \\ &= c \end{aligned}",
        r"\begin{split} a &= b \\ &= c \end{split}",
        r"\begin{cases} x & \text{if } x > 0 \\ -x & \text{otherwise} \end{cases}",
        r"\begin{array}{c|c} a & b \\ \hline c & d \end{array}",
        r"\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}",
        r"\lim_{x \to 0} \frac{\sin x}{x}\!",
        r"\operatorname{argmax}_{\theta} \mathcal{L}(\theta) \mathbb{E}_{x\sim p}[f(x)] \mathbf{x}^\top",
        r"\left\{ x \,\middle|\, \left. y \right|_0 \right\} \bigl( x \bigr)",
        r"\boxed{x = 42} \underbrace{a+b}_{n} \overline{AB} \hat{x} \vec{v} \tilde{z} \widetilde{ab}",
        r"\sum_{\substack{i<n \\ j<m}} \binom{n}{k} \pmod{n} \text{50\%} \cancel{x} \color{red}{x}",
        r"E = mc^2 \tag{1}",
    ],
)
def test_what_models_write_is_read(latex: str) -> None:
    """The usual formulas of answers are none of those that stay code."""
    assert to_mathml(latex, display=True).startswith('<math display="block">')


@pytest.mark.parametrize(
    "latex",
    [
        *(
            r"\rule{500em}{500em}",
            r"\hspace{99999em}x",
            r"\raisebox{20em}{x}",
            r"\href{/evil}{x}",
            r"\genfrac(){99em}{0}ab",
        ),
        *(
            r"\def\a{xx}\a",
            r"\frac{",
            "x" * (MAX_SOURCE_CHARACTERS + 1),
            "{" * 1_000 + "}" * 1_000,
            r"\sqrt" * 399 + " x",
        ),
        *("x^{" * 500 + "}" * 500, r"\left(" * 150 + r"\right)" * 150, r"\unknown{x}", "\x00", "&", "\ud800"),
    ],
)
def test_what_is_too_much_or_unknown_stays_code(latex: str) -> None:
    """As it was written, with its signs around it."""
    shown: list[str] = []
    # On a small stack, as some systems give a thread: what is nested must not end the process.
    before = threading.stack_size(1024 * 1024)
    thread = threading.Thread(target=lambda: shown.append(to_mathml(latex, display=False)))
    threading.stack_size(before)
    thread.start()
    thread.join()
    assert shown == [""]
    if len(latex) < 100 and "\x00" not in latex and "\ud800" not in latex:
        assert to_html(f"see \\({latex}\\)").startswith('<p dir="auto">see <code>\\(')
        assert to_html(f"$$\n{latex}\n$$").endswith(f"```latex\n$$\n{latex}\n$$\n```")


@given(st.lists(st.sampled_from(WRITTEN), max_size=40).map("".join), st.booleans())
@example(r"\text{<img src=x>}", False)
def test_a_formula_is_known_elements_with_known_values(latex: str, display: bool) -> None:
    """Whatever the library makes of it, on one line that Gradio's parser passes on."""
    shown = to_mathml(latex, display=display)
    if not shown:
        return
    assert "\n" not in shown
    assert "%" not in shown.replace("&#37;", "")
    tree = ElementTree.fromstring(shown)  # noqa: S314 - it is what is tested

    def check(element: ElementTree.Element, depth: int) -> None:
        assert element.tag in ELEMENTS
        assert depth <= MAX_DEPTH
        for name, value in element.items():
            if name == "align":
                assert set(value.split()) <= {
                    "left",
                    "right",
                    "joined-left",
                    "joined-right",
                    "apart",
                    "bold",
                    "slanted",
                    "typed",
                    "line-left",
                    "line-right",
                    "line-above",
                    "line-below",
                }
            else:
                assert VALUES[name].fullmatch(value)
        for child in element:
            check(child, depth + 1)

    check(tree, 0)
