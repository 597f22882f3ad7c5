"""What a model reasons is kept from people, however it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.reasoning import ReasoningOpened, ReasoningTrimmer
from core.models.reasoning_formats import (
    ANSWER_WRAPPERS,
    FORMATS,
    HARMONY_MARKERS,
    ReasoningFormat,
    TagPlace,
    opens_reasoning,
)
from tests.examples import examples


def read(chunks: list[str], opened: ReasoningOpened = ReasoningOpened.NO) -> str:
    """What is visible in the end; retracted text is taken back."""
    trimmer, shown = ReasoningTrimmer(opened), ""
    for chunk in chunks:
        new = trimmer.feed(chunk)
        shown = new if trimmer.retracted else shown + new
    return shown + trimmer.flush()


def both_ways(text: str, opened: ReasoningOpened = ReasoningOpened.NO) -> str:
    """What is visible, which is the same at once and letter by letter, but for white space before it."""
    whole = read([text], opened)
    assert read([*text], opened).lstrip() == whole.lstrip()
    return whole


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.opens)
def test_no_format_of_reasoning_is_shown(form: ReasoningFormat) -> None:
    """Each row of the table: at the start, over several lines, and with the answer on the same line."""
    for text in (
        f"{form.opens}\nA sum; carry nothing.\n{form.closes}\n\nIt is 7.",
        f"\n{form.opens}A sum; carry nothing.{form.closes}It is 7.",
        f"{form.opens} A sum;\n\n```\n1 + 1\n```\n\ncarry nothing. {form.closes} It is 7.",
    ):
        assert both_ways(text).strip() == "It is 7."


@pytest.mark.parametrize("form", [form for form in FORMATS if form.lone], ids=lambda form: form.opens)
@pytest.mark.parametrize(
    "text",
    [
        "A sum; carry nothing.\n{}\n\nIt is 7.",
        "A sum; carry nothing.{}It is 7.",
        "A sum; carry nothing. {} It is 7.",
        "A sum.\n\nTwo of them; carry nothing.{}\n\nIt is 7.",
        "{}\n\nIt is 7.",
        "{}It is 7.",
    ],
)
def test_a_lone_end_tag_makes_reasoning_of_what_came_before(form: ReasoningFormat, text: str) -> None:
    """A template has opened it, so the text began in the middle; wherever on a line it ends."""
    assert both_ways(text.format(form.closes)).strip() == "It is 7."


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain", "plain"),
        ("<think>hm</think>\n\nyes", "yes"),
        ("<THINK>hm</Think>\n\nyes", "yes"),
        ("\n<think>\nhm\n</think>yes", "\nyes"),
        ("First.\n<think>hm</think>\nyes", "First.\nyes"),
        ("First. [THINK]hm[/THINK]yes", "First. yes"),
        ("<think>a</think><think>b</think>yes", "yes"),
        ("<think>a<think>b</think>c</think>yes", "yes"),
        ("<think>Is `</think>` a tag?</think>yes", "yes"),
        ("<think>hm</think>\n</think>\n\nyes", "yes"),
        ("<think>hm</think>It ends so:\n</think>\nyes", "It ends so:\n</think>\nyes"),
        ("<think></think>", ""),
        ("<think>never done", ""),
        ("<Thought>hm</Thought>\n<Output>\nyes\n</Output>", "yes\n"),
        ("<think>hm</think>\n<answer>yes</answer>", "yes"),
    ],
)
def test_reasoning_is_cut_out(text: str, visible: str) -> None:
    """In upper and lower case, twice, nested, in the middle; and what is put around the answer after it."""
    assert both_ways(text) == visible


@pytest.mark.parametrize(
    "text",
    [
        "Write `<think>` and `</think>` around it.",
        "Qwen ends it with `</think>`, so look for that.",
        "Qwen ends it with </think>, so look for that.",
        "The tag is </think>\nand it stands alone.",
        "Its end (</think>) is a token.",
        "`" * 300 + "</think>",
        'Look for "</think>" in it.',
        "Use **</think>** there.",
        "So it reads:\n```\n<think>\nhm\n</think>\nyes\n```\nThat is all.",
        "So it reads:\n~~~xml\nhm\n</think>\n~~~\nThat is all.",
        "It reads ``a `</think>` b`` there.",
        "First <think>, then words, then </think>, then the answer.",
        "Like this: <think>hm</think>yes",
        "Write `<think>` first, and\n</think>\nafter it.",
        "It begins so.\n<think> is what begins it.",
        "a < b and <thin> <b>",
        "See [think](https://example.com) and [1].",
        "<details>\n<summary>More</summary>\n</details>",
        "<answer>yes</answer>",
        "analysis of the numbers: fine",
        "analysis: fine",
        "Its last channel is called assistantfinal there.",
        "Analysis\nfinal words",
        "finally",
        "commentary to follow",
        "~5 items, ~~struck~~",
        "Here is my thought on it.",
    ],
)
def test_talk_about_reasoning_is_text(text: str) -> None:
    """In code, in quotes, in a sentence; and what only looks like it."""
    assert both_ways(text) == text


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "yes"),
        ("<|start|>assistant<|channel|>analysis<|message|>hm<|end|><|channel|>final<|message|>yes", "yes"),
        ("<|channel|>commentary to=functions.x <|constrain|>json<|message|>{}<|call|>", ""),
        ("<|channel|>commentary<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "yes"),
        ("<|channel|>final<|message|>yes", "yes"),
        ("<|channel|>final <|constrain|>json<|message|>yes", "yes"),
        ("<|start|>assistant<|message|>yes", "yes"),
        ("<|channel|>analysis<|message|>hm<|end|>assistantfinalyes", "yes"),
        ("<|channel|>analysis<|message|>hm<|start|>assistant<|channel|>final<|message|>yes", "yes"),
        ("<|channel|>analysis<|message|>never done", ""),
        ("analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "yes"),
        ("analysisThey want one.assistantfinalYes.", "Yes."),
        ("analysis用户想要一个。assistantfinal好。", "好。"),
        ("analysisHm.assistantcommentaryLook it up.assistantfinalYes.", "Yes."),
        ("commentary to=functions.x json{}assistantfinalYes.", "Yes."),
        ("analysis\n\nThey want one.\nassistantfinal\n\nYes.", "Yes."),
        ("Analysis: they want one.assistantfinalYes.", "Yes."),
        ("assistantfinalYes.", "Yes."),
        ("finalYes.", "Yes."),
    ],
)
def test_only_harmonys_final_channel_is_shown(text: str, visible: str) -> None:
    """With its markers, without them, and with some of them."""
    assert both_ways(text) == visible


def test_what_harmony_ends_an_answer_with_is_left_to_whoever_ends_it() -> None:
    """The marker is a turn mark there."""
    assert both_ways("<|channel|>final<|message|>yes<|return|>more") == "yes<|return|>more"


def test_where_the_prompt_opened_it_all_is_reasoning_until_its_end() -> None:
    """And where it has only been so before, a text without that end is the answer."""
    assert read(["hm", "</th", "ink>\nyes"], ReasoningOpened.YES) == "yes"
    assert read(["hm", "</th", "ink>yes"], ReasoningOpened.MAYBE) == "yes"
    assert read(["just", " an answer"], ReasoningOpened.MAYBE) == "just an answer"
    assert read(["<think>hm</think>", "an answer"], ReasoningOpened.MAYBE) == "an answer"
    assert read(["cut off"], ReasoningOpened.YES) == ""


def test_reasoning_without_an_end_can_be_had() -> None:
    """It may be all that there is."""
    trimmer = ReasoningTrimmer()
    assert trimmer.feed("<think>Paris is the capital.") + trimmer.flush() == ""
    assert trimmer.reasoning == "Paris is the capital."
    trimmer.feed("</think>")
    assert trimmer.flush() + trimmer.reasoning == ""


@pytest.mark.parametrize("form", [form for form in FORMATS if form.where is not TagPlace.START], ids=lambda f: f.opens)
def test_a_prompt_that_opens_reasoning_is_known(form: ReasoningFormat) -> None:
    """By any format."""
    assert opens_reasoning(f"<|assistant|>{form.opens}\n")
    assert not opens_reasoning(f"{form.opens}hm")


PIECES = [
    *("<think>", "</think>", "<", "thi", "nk>", "/", "a", "\n", " ", "</", "`", "```", "~~~", ".", '"', "final"),
    *("analysis", "assistant", "assistantfinal", "[THINK]", "[/THINK]", "<answer>", "</answer>", "X", *HARMONY_MARKERS),
]


@examples(400)
@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(ReasoningOpened), st.data())
def test_chunking_changes_nothing(pieces: list[str], opened: ReasoningOpened, data: st.DataObject) -> None:
    """The same text is visible however it comes, but for white space before it, which nobody sees."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(chunks, opened).lstrip() == read([text], opened).lstrip()


MARKS = {mark[0] for form in FORMATS for mark in (form.opens, form.closes)} | {mark[0] for mark in ANSWER_WRAPPERS}


@given(st.text(max_size=60))
def test_other_text_is_unchanged(text: str) -> None:
    """Whatever people write."""
    if not MARKS & {*text} and not text.lstrip().startswith(("analysis", "commentary", "final", "Here")):
        assert both_ways(text) == text
