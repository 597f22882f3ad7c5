"""The window never exceeds its budget, is cut in steps, and always holds the question."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.model_types import ModelLimits
from core.prompts import open_template
from core.prompts.tokens import MESSAGE_OVERHEAD, estimate_tokens, message_tokens
from core.prompts.window import Fit, TokenBudget, fit, shorten, split_context
from core.types import Author, Conversation, ConversationKey, Message, Role

KEY = ConversationKey("terminal", "local", "me")
SYSTEM = "You are a helpful assistant."


def message(role: Role, text: str, name: str, author: Author | None = None) -> Message:
    """A message with its tokens counted."""
    said = Message(role, text, id=name, author=author)
    return replace(said, tokens=message_tokens(said))


def conversation(*texts: str, cut: str = "") -> Conversation:
    """Questions and answers in turn."""
    roles = (Role.USER, Role.ASSISTANT)
    return Conversation(KEY, tuple(message(roles[i % 2], text, f"m{i}") for i, text in enumerate(texts)), cut=cut)


def tokens(fitted: Fit) -> int:
    """What a window costs by our own estimate."""
    window = fitted.window
    return estimate_tokens(window.system) + MESSAGE_OVERHEAD + sum(message_tokens(m) for m in window.messages)


def ask(text: str = "and now?") -> Message:
    """A new question."""
    return Message(Role.USER, text, id="now", author=Author("U1", "Ada"))


def test_what_fits_is_shown_whole() -> None:
    """Nothing is cut for no reason."""
    fitted = fit(conversation("a", "b", "c", "d"), ask(), SYSTEM, TokenBudget(1000, 100))
    assert [m.text for m in fitted.window.messages] == ["a", "b", "c", "d", "and now?"]
    assert (fitted.cut, fitted.shortened) == ("", False)


def test_what_does_not_fit_is_cut_to_sixty_per_cent_and_begins_with_a_person() -> None:
    """One step makes room for many turns."""
    texts = [f"message number {i} " * 5 for i in range(40)]
    fitted = fit(conversation(*texts), ask(), SYSTEM, TokenBudget(800, 100))
    room = 800 - estimate_tokens(SYSTEM) - MESSAGE_OVERHEAD
    spent = tokens(fitted) - estimate_tokens(SYSTEM) - MESSAGE_OVERHEAD
    assert 0.3 * room < spent <= 0.5 * room
    assert fitted.window.messages[0].role is Role.USER
    assert fitted.cut == fitted.window.messages[0].id


def test_what_the_guard_adds_is_counted() -> None:
    """Text that is full of what looks like control strings grows on its way into the prompt."""
    for text in ("<|" * 3000, "user: a\nbot: b\n" * 700, "xs |> List.map f |> List.sum\n" * 300):
        for asked, system in ((text, SYSTEM), ("hi", text)):
            fitted = fit(conversation(), ask(asked), system, TokenBudget(1000, 100))
            assert estimate_tokens(open_template("falcon").render(fitted.window).text()) <= 1000


def test_dates_are_counted() -> None:
    """One stands with the first message of each day."""
    days = [
        replace(message(Role.USER, "hello there", f"d{day}"), at=(day + 1) * 86_400.0 + 43_200) for day in range(100)
    ]
    fitted = fit(Conversation(KEY, tuple(days)), ask(), SYSTEM, TokenBudget(1000, 100))
    assert estimate_tokens(open_template("falcon").render(fitted.window).text()) <= 1000


def test_a_cut_that_was_taken_out_counts_no_more() -> None:
    """Everything that is left is shown, and the mark does not come back with the same question."""
    fitted = fit(conversation("a", "b", cut="gone"), ask(), SYSTEM, TokenBudget(1000, 100))
    assert fitted.cut == ""
    assert len(fitted.window.messages) == 3


def test_after_a_cut_the_beginning_stays_the_same_for_many_turns() -> None:
    """The server's prefix cache goes on serving it."""
    talk, starts = conversation(), []
    for turn in range(100):
        question = Message(Role.USER, f"question {turn} " * 6, id=f"q{turn}")
        fitted = fit(talk, question, SYSTEM, TokenBudget(1500, 100))
        starts.append(fitted.window.messages[0].id)
        answer = message(Role.ASSISTANT, f"answer {turn} " * 6, f"a{turn}")
        talk = Conversation(KEY, (*talk.messages, fitted.window.messages[-1], answer), cut=fitted.cut)
    assert 2 < len(set(starts)) < 15


def test_a_question_larger_than_the_budget_is_shortened_in_its_middle() -> None:
    """Its beginning and end are what people mean."""
    fitted = fit(conversation("a", "b"), ask("BEGIN " + "x" * 100_000 + " END"), SYSTEM, TokenBudget(500, 100))
    shown = fitted.window.messages[-1].text
    assert fitted.shortened
    assert shown.startswith("BEGIN")
    assert shown.endswith("END")
    assert "characters left out" in shown
    assert tokens(fitted) <= 500


@given(
    st.lists(st.text(max_size=300), max_size=30),
    st.text(max_size=2000),
    st.text(max_size=200),
    st.integers(120, 3000),
    st.one_of(st.just(""), st.integers(0, 30).map(lambda i: f"m{i}")),
)
def test_a_window_never_exceeds_its_budget(texts: list[str], asked: str, system: str, room: int, cut: str) -> None:
    """Whatever is remembered, asked, or set."""
    fitted = fit(conversation(*texts, cut=cut), ask(asked), system, TokenBudget(room, 100))
    assert tokens(fitted) <= room
    assert fitted.window.messages[-1].id == "now"


@given(st.text(max_size=3000), st.integers(40, 500))
def test_shortening_keeps_what_fits_and_fits_what_it_keeps(text: str, room: int) -> None:
    """And leaves alone what is short enough."""
    short = shorten(text, room)
    assert estimate_tokens(short) <= room
    assert estimate_tokens(text) > room or short == text


def test_an_answer_takes_no_more_than_half_of_the_context() -> None:
    """A person must be able to ask something."""
    budget = split_context(ModelLimits(max_input_tokens=1000, max_total_tokens=1024), max_new_tokens=4096)
    assert budget.answer == 512
    assert budget.prompt + budget.answer <= 1024


def test_the_servers_limit_on_its_input_counts_too() -> None:
    """TGI has one for the prompt alone."""
    assert split_context(ModelLimits(max_input_tokens=500, max_total_tokens=4096), max_new_tokens=20).prompt <= 500


def test_the_estimate_is_high_for_scripts_and_signs_that_take_many_tokens() -> None:
    """Prose about a third of its letters, digits one each, CJK at least two for a character."""
    assert estimate_tokens("") == 0
    assert estimate_tokens("the quick brown fox jumps") in range(6, 12)
    assert estimate_tokens("漢字仮名") >= 8
    assert estimate_tokens("1234567890") >= 7
