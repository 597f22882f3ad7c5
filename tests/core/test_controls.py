"""A template's own strings never show in an answer."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from core.controls import MARK, ControlTrimmer

OWN = ("</s>", "<s>")
SEEN = re.compile(r"<\|\w{1,48}\|>|</?(start|end)_of_turn>|<</?SYS>>|\[/?INST\]|</?s>")
PIECES = (
    "<|im_end|>",
    "<|im_",
    "end|>",
    "<",
    "|",
    ">",
    "[INST]",
    "[/IN",
    "ST]",
    "</s>",
    "</",
    "s>",
    "<<SYS>>",
    "a",
    " ",
    "\n",
    "[",
)


def read(chunks: list[str], own: tuple[str, ...] = OWN) -> str:
    """All that is shown."""
    trimmer = ControlTrimmer(own)
    return "".join([*map(trimmer.feed, chunks), trimmer.flush()])


def test_control_strings_are_taken_out() -> None:
    """Whole, and letter by letter; everything else stays."""
    text = "yes<|im_end|> a <b> [x] 1 < 2 <|not this|> done</s>"
    for chunks in ([text], [*text]):
        assert read(chunks).replace(MARK, "") == "yes a <b> [x] 1 < 2 <|not this|> done"


def test_html_is_left_alone_where_it_is_no_control() -> None:
    """Only some families end a turn with what strikes a text through."""
    assert read(["<s>old</s> new"], ()) == "<s>old</s> new"


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.data())
def test_none_shows_whatever_the_chunking(pieces: list[str], data: st.DataObject) -> None:
    """Not even one that is put together by taking another one out."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert not SEEN.search(read(chunks))
    if not SEEN.search(text):
        assert read(chunks) == text
