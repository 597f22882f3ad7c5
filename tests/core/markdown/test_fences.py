"""What is a code block and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from core.markdown.fences import fences_balanced, open_fence

lines = st.sampled_from(
    ("```", "````", "~~~", "~~~~", "``", "```py", "``` a `b`", "~~~ a `b`", "```  ", "text", "", "a ```")
)


@pytest.mark.parametrize(
    ("text", "balanced"),
    [
        ("", True),
        ("```py\ncode\n```", True),
        ("```py\ncode", False),
        ("```py", False),
        ("````\n```\n````", True),
        ("````\n```", False),
        ("```\n~~~", False),
        ("```\n``` not the end\n```", True),
        ("``` `not` a fence", True),
        ("~~~ `a` fence", False),
        ("1. A step\n\n     ```sh\n     make\n     ```", True),
        ("1. A step\n\n     ```sh\n     make", False),
        ("- ```js\n  code\n  ```", True),
        ("some ``` in a line", True),
        ("```\r\ncode\r\n```\r\n", True),
    ],
)
def test_a_fence_is_open_until_it_is_closed(text: str, balanced: bool) -> None:
    """By its own marks, on a line of their own."""
    assert fences_balanced(text) is balanced


def test_an_open_fence_is_known_by_its_marks() -> None:
    """Everything that it takes to close it and to open it again."""
    fence = open_fence("1. ~~~~ python \ncode\n~~~")
    assert fence
    assert (fence.indent, fence.marks, fence.info) == ("   ", "~~~~", " python")


@given(st.lists(lines).map("\n".join))
def test_a_whole_parser_sees_the_same_blocks(text: str) -> None:
    """Where nothing is indented, this is what CommonMark says."""
    fence = open_fence(text)
    closed = f"{text}\n{fence.marks}" if fence else text
    blocks = [token.content for token in MarkdownIt("commonmark").parse(f"{closed}\n\nafter") if token.type == "fence"]
    assert not any("after" in block for block in blocks)
    if fence:
        (*_, last) = MarkdownIt("commonmark").parse(f"{text}\n\nafter")
        assert last.type == "fence"
        assert "after" in last.content
