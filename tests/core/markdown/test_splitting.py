"""A long answer becomes messages that fit, read well, and stay as they are."""

from __future__ import annotations

import re
from itertools import accumulate

import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st

from core.markdown.fences import fence_lines, fences_balanced
from core.markdown.splitting import Part, Splitter, split
from core.types import MessageLimits, code_points
from tests.examples import examples


def utf16(text: str) -> int:
    """Length as Discord counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


PIECES = (
    *("\n", "\n\n", "\r\n", "   \n", " ", "  ", "\t"),
    *("```", "```py\n", "\n```\n", "~~~\n", "````\n", "    ```\n", "- ```js\n", "> ", "`", "~", "``"),
    *("word ", "a sentence. ", "1. ", "wait… ", "你好。", "漢字", "x" * 25),
    *("👨‍👩‍👧", "🇩🇪", "e\u0301", "\u0301\u0302", "\u200d", "क्षि", "각"),
)
scribbles = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=150)
measures = st.sampled_from((code_points, utf16))
small = st.builds(MessageLimits, st.integers(20, 60), measures)
roomy = st.builds(MessageLimits, st.integers(50, 120), measures)

words = st.sampled_from(("a", "word", "sentence.", "**bold**", "`code`", "漢字。", "👨‍👩‍👧", "~", "naïve"))
lines = st.lists(words, min_size=1, max_size=5).map(" ".join)
prose = st.lists(lines, min_size=1, max_size=4).map("\n".join)
code = st.builds(
    lambda marks, language, body: "\n".join((marks + language, *body, marks)),
    st.sampled_from(("```", "~~~", "````", "  ```")),
    st.sampled_from(("", "py", " js", "c++")),
    st.lists(st.one_of(lines, st.just("")), max_size=8),
)
documents = st.lists(st.one_of(prose, code), max_size=8).map("\n\n".join)


@given(scribbles | documents, small)
def test_the_parts_together_are_the_text(text: str, limits: MessageLimits) -> None:
    """Nothing is lost and nothing is added."""
    assert "".join(part.raw for part in split(text, limits)) == text


@given(scribbles | documents, small)
def test_every_part_fits_into_a_message(text: str, limits: MessageLimits) -> None:
    """With all that is added to it, in the platform's own units."""
    assert all(0 < limits.measure(part.text) <= limits.size for part in split(text, limits))


@given(scribbles | documents, roomy)
def test_no_code_block_is_left_open(text: str, limits: MessageLimits) -> None:
    """Only the last part leaves open what the text itself leaves open."""
    longest = max((len(marks) for marks in re.findall(r"`+|~+", text)), default=0)
    assume(longest < limits.size // 4)
    parts = split(text, limits)
    assert all(fences_balanced(part.text) for part in parts[:-1])
    if parts and fences_balanced(text):
        assert fences_balanced(parts[-1].text)


@given(documents, st.builds(MessageLimits, st.integers(160, 240), measures))
def test_code_stays_code_and_prose_stays_prose(text: str, limits: MessageLimits) -> None:
    """However often a code block is cut, the same lines are inside it."""
    parts = split(text, limits)
    assert [line for part in parts for line in coded(part.text)] == coded(text)


def coded(text: str) -> list[str]:
    """The characters inside code blocks, line by line."""
    found: list[str] = []
    start = 0
    for line, fence in fence_lines(text):
        if fence:
            start = line.end()
        else:
            found += [inside for inside in text[start : line.start()].split("\n") if inside]
    return found


@given(scribbles | documents, small)
def test_no_character_that_people_see_is_cut(text: str, limits: MessageLimits) -> None:
    """Neither a family of emoji nor an accent, unless it is too long for any message."""
    clusters = regex.findall(r"\X", text)
    inside_giants = set()
    borders = {0}
    for cluster, end in zip(clusters, accumulate(map(len, clusters)), strict=True):
        borders.add(end)
        if limits.measure(cluster) > limits.size // 2:
            inside_giants |= set(range(end - len(cluster), end))
    cuts = set(accumulate(len(part.raw) for part in split(text, limits)))
    assert cuts <= borders | inside_giants


@examples(30)  # each of them is split at every character
@given(scribbles | documents, small)
def test_a_part_that_is_followed_by_another_never_changes(text: str, limits: MessageLimits) -> None:
    """Whatever is still to come: a message that was left behind needs no second look."""
    whole = split(text, limits)
    for end in range(len(text)):
        before = split(text[:end], limits)
        assert before[:-1] == whole[: max(len(before) - 1, 0)]


@given(scribbles | documents, small, st.lists(st.integers(0, 150)))
def test_a_splitter_remembers_and_says_the_same(text: str, limits: MessageLimits, ends: list[int]) -> None:
    """As text grows, and even where it does not go on from before."""
    splitter = Splitter(limits)
    for end in [*sorted(ends), *ends]:
        assert splitter.parts(text[:end]) == split(text[:end], limits)


@given(st.lists(words, min_size=1, max_size=60).map(" ".join), small)
def test_words_stay_whole_and_parts_are_not_tiny(text: str, limits: MessageLimits) -> None:
    """Where words are short enough, every part ends after one and is half full at the least."""
    for part in split(text, limits)[:-1]:
        assert part.raw[-1] in " 。"
        assert limits.measure(part.raw) >= limits.size // 2 - 8


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Some words in a paragraph.\n\nA line\nand another that is long", "Some words in a paragraph.\n\n"),
        ("Some words in a line.\nA sentence. And many more words", "Some words in a line.\n"),
        ("Some words in a sentence. And many more words to follow", "Some words in a sentence. "),
        ("Some words in no sentence and many more words to follow", "Some words in no sentence and many more "),
        ("Too early.\n\nAnd then onlywordsthatarewrittentogetherasone", "Too early.\n\nAnd then "),
        ("onlywordsthatarewrittentogetherasonewordandwithoutend", "onlywordsthatarewrittentogetherasoneword"),
        (
            "これは一つ目の文です。これは二つ目の文です。これは三つ目の、もっともっと長い文です。",
            "これは一つ目の文です。これは二つ目の文です。",
        ),
        ("A line of prose before it\n```\ncode\nmore code\nlast code\n```", "A line of prose before it\n"),
    ],
)
def test_a_cut_falls_where_a_reader_pauses(text: str, first: str) -> None:
    """After a paragraph, a line, a sentence, a word: the best of them that does not come too early."""
    assert split(text, MessageLimits(40))[0].raw == first


def test_a_code_block_goes_on_in_the_next_message() -> None:
    """Closed at the end of one, opened again with its language in the next, with the same marks and indentation."""
    text = "  ~~~~python\n" + "".join(f"  line({n})\n" for n in range(10)) + "  ~~~~\nThat is all."
    assert [part.text for part in split(text, MessageLimits(60))] == [
        "  ~~~~python\n  line(0)\n  line(1)\n  line(2)\n  line(3)\n  ~~~~",
        "  ~~~~python\n  line(4)\n  line(5)\n  line(6)\n  line(7)\n  ~~~~",
        "  ~~~~python\n  line(8)\n  line(9)\n  ~~~~\nThat is all.",
    ]


def test_the_last_part_leaves_open_what_the_text_leaves_open() -> None:
    """An answer that was cut off in code is shown as it is."""
    assert split("```py\nprint(1)", MessageLimits(60)) == [Part("```py\nprint(1)", "```py\nprint(1)")]


def test_five_thousand_accents_are_cut_somewhere() -> None:
    """One grapheme that fits into no message is cut between code points, and every part is full."""
    parts = split("e" + "\u0301" * 5000, MessageLimits(2000, utf16))
    assert [len(part.raw) for part in parts] == [2000, 2000, 1001]


def test_no_text_is_no_part() -> None:
    """There is nothing to post."""
    assert split("", MessageLimits(100)) == []


def test_a_message_too_small_for_anything_still_ends() -> None:
    """A size that nothing fits into costs the promise of size, not the answer."""
    assert "".join(part.raw for part in split("```py\n👍👍\n```", MessageLimits(1, utf16))) == "```py\n👍👍\n```"


def test_lone_surrogates_are_text() -> None:
    """Whatever a model may stream."""
    text = "\ud83d" * 50
    assert "".join(part.raw for part in split(text, MessageLimits(20, utf16))) == text
