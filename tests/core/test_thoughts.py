"""What a model reasons is kept from people, however it comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.thoughts import Opened, ThoughtTrimmer


def read(chunks: list[str], opened: Opened = Opened.NO) -> str:
    """What is visible in the end; retracted text is taken back."""
    trimmer, shown = ThoughtTrimmer(opened), ""
    for chunk in chunks:
        new = trimmer.feed(chunk)
        shown = new if trimmer.retracted else shown + new
    return shown + trimmer.flush()


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain", "plain"),
        ("<think>hm</think>\n\nyes", "yes"),
        ("\n<think>\nhm\n</think>yes", "\nyes"),
        ("hm, they ask\n</think>\n\nyes", "yes"),
        ("First.\n<think>hm</think>\nyes", "First.\nyes"),
        ("Write `<think>` and `</think>` around it.", "Write `<think>` and `</think>` around it."),
        ("Qwen ends it with `</think>`, so look for that.", "Qwen ends it with `</think>`, so look for that."),
        ("<think>never done", ""),
        ("a < b and <thin> <b>", "a < b and <thin> <b>"),
        ("<think></think>", ""),
    ],
)
def test_reasoning_is_cut_out(text: str, visible: str) -> None:
    """At once or letter by letter."""
    assert read([text]) == visible
    assert read([*text]) == visible


def test_where_the_prompt_opened_it_all_is_reasoning_until_its_end() -> None:
    """And where it has only been so before, a text without that end is the answer."""
    assert read(["hm", "</th", "ink>\nyes"], Opened.YES) == "yes"
    assert read(["hm", "</th", "ink>\nyes"], Opened.MAYBE) == "yes"
    assert read(["just", " an answer"], Opened.MAYBE) == "just an answer"
    assert read(["cut off"], Opened.YES) == ""


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "thi", "nk>", "/", "a", "\n", " ", "</"]), max_size=12),
    st.data(),
)
def test_chunking_changes_nothing(pieces: list[str], data: st.DataObject) -> None:
    """The same text is visible however it comes."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(chunks) == read([text])
