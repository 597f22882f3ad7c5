"""Control tokens never show in an answer, and one that ends a turn ends the answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.control_tokens import SEPARATOR, ControlTrimmer, ends_turn
from tests.examples import examples

OWN = ("</s>", "<s>")
SEEN = re.compile(r"<\|\w{1,48}\|>|</?(start|end)_of_turn>|<</?SYS>>|\[/?INST\]|</?s>")
PIECES = (
    *("<|im_end|>", "<|im_", "end|>", "<", "|", ">", "[INST]", "[/IN", "ST]", "</s>", "</", "s>", "<<SYS>>"),
    *("<|box|>", "<|bo", "x|>", "a", " ", "\n", "[", "`", '"', "assistant", "user"),
)

TURN_MARKS = {
    "<|im_end|>": "ChatML: Qwen, Yi, Hermes, Phi-4",
    "<|im_end|>\n<|im_start|>user\nMore?": "ChatML",
    "\n<|im_start|>user\nMore?": "ChatML",
    "<|endoftext|>": "GPT-2, Falcon, Qwen",
    "<|eot_id|>": "Llama 3",
    "<|eom_id|>": "Llama 3",
    "<|end_of_text|>": "Llama 3, Granite",
    "<|start_header_id|>user<|end_header_id|>": "Llama 3",
    "<|eot|><|header_start|>user<|header_end|>": "Llama 4",
    "<end_of_turn>": "Gemma",
    "\n<start_of_turn>user\nMore?": "Gemma",
    "<turn|>": "Gemma 4",
    "\n<|turn>user\nMore?": "Gemma 4",
    "</s>": "Llama 2, Mistral, Zephyr",
    "</s>[INST] More? [/INST]": "Llama 2, Mistral",
    "[INST] More? [/INST]": "Llama 2, Mistral",
    "<|user|>\nMore?": "Zephyr, Phi-3, GLM",
    "<|end|>\n<|user|>": "Phi-3",
    "<|observation|>": "GLM",
    "<|return|>": "gpt-oss",
    "<|start|>user<|message|>More?": "gpt-oss",
    "<\uff5cend▁of▁sentence\uff5c>": "DeepSeek",
    "<\uff5cUser\uff5c>More?": "DeepSeek",
    "<|END_OF_TURN_TOKEN|>": "Command R",
    "<|END_RESPONSE|>": "Command A",
    "<|start_of_role|>user<|end_of_role|>": "Granite",
    "<|im_user|>user": "Kimi",
    "<eos>": "Gemma",
}


def read(chunks: list[str], own: tuple[str, ...] = OWN) -> tuple[str, bool]:
    """All that is shown, and whether the answer was ended."""
    trimmer = ControlTrimmer(own)
    return "".join([*map(trimmer.feed, chunks), trimmer.flush()]), trimmer.ended


@pytest.mark.parametrize("mark", TURN_MARKS, ids=TURN_MARKS.get)
@pytest.mark.parametrize("before", ["Seven.", "```python\nseven()\n```", "It is\n\n- seven\n"])
def test_a_turn_mark_of_any_family_ends_the_answer(mark: str, before: str) -> None:
    """Whole, and letter by letter; whatever comes after it is nobody's answer."""
    for chunks in ([f"{before}{mark}\nMore."], [*before, *mark, *"\nMore."]):
        shown, ended = read(chunks, ())
        assert (shown.strip(), ended) == (before.strip(), True)


@pytest.mark.parametrize("mark", TURN_MARKS, ids=TURN_MARKS.get)
def test_half_a_turn_mark_is_not_shown_while_it_may_become_one(mark: str) -> None:
    """Nothing of it, at no moment."""
    trimmer = ControlTrimmer()
    shown = trimmer.feed("Seven.")
    for character in mark:
        shown += trimmer.feed(character)
    assert shown.strip() == "Seven."


@pytest.mark.parametrize(
    "start",
    [
        "<|im_start|>assistant\n",
        "<|assistant|>\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<start_of_turn>model\n",
        "<|begin_of_text|>",
        "[/INST] ",
        "<\uff5cAssistant\uff5c>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|start_of_role|>assistant<|end_of_role|>",
        "\n<|im_start|>",
    ],
)
def test_the_start_of_the_answers_own_turn_is_taken_out(start: str) -> None:
    """A model may write it again, with the name of its role."""
    for chunks in ([f"{start}Seven."], [*start, *"Seven."]):
        shown, ended = read(chunks, ())
        assert (shown.strip(), ended) == ("Seven.", False)


def test_the_start_of_somebody_elses_turn_ends_the_answer() -> None:
    """Also as its first words."""
    assert read(["<|im_start|>user\nMore?"]) == ("", True)
    assert read(["<|im_start|>", "us", "er", "\nMore?"]) == ("", True)


def test_other_control_tokens_are_taken_out() -> None:
    """Whole, and letter by letter; everything else stays."""
    text = "yes<|box_end|> a <b> [x] 1 < 2 <|not this|> done"
    for chunks in ([text], [*text]):
        assert read(chunks)[0].replace(SEPARATOR, "") == "yes a <b> [x] 1 < 2 <|not this|> done"


@pytest.mark.parametrize("quote", ["`", '"', "'"])
def test_talk_about_a_turn_mark_does_not_end_the_answer(quote: str) -> None:
    """It is not shown, but what follows is."""
    text = f"It ends with {quote}<|im_end|>{quote}, I think."
    for chunks in ([text], [*text]):
        shown, ended = read(chunks, ())
        assert (shown.replace(SEPARATOR, ""), ended) == (f"It ends with {quote}{quote}, I think.", False)


def test_html_is_left_alone_where_it_is_no_control() -> None:
    """Only some families end a turn with what strikes a text through."""
    assert read(["<s>old</s> new"], ()) == ("<s>old</s> new", False)
    assert read(["<s>old</s>\nnew"], ()) == ("<s>old</s>\nnew", False)
    assert read(["Its end is `</s>`, its start <s>."], ()) == ("Its end is `</s>`, its start <s>.", False)


def test_special_tokens_that_end_a_turn_are_known() -> None:
    """A reader that leaves special tokens out has to see these."""
    assert ends_turn("<|eot_id|>")
    assert ends_turn("<start_of_turn>")
    assert not ends_turn("<pad>")


@examples(300)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.data())
def test_none_shows_whatever_the_chunking(pieces: list[str], data: st.DataObject) -> None:
    """Not even one that is put together by taking another one out."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown, ended = read(chunks)
    assert not SEEN.search(shown)
    assert (shown, ended) == read([text])
    if not SEEN.search(text):
        assert shown == text
