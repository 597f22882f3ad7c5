"""The window never exceeds its budget, is cut in steps, and always holds the question."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.model_types import ModelLimits
from core.prompts import open_template
from core.prompts.tokens import MESSAGE_OVERHEAD, estimate_tokens, message_tokens
from core.prompts.window import DATE_TOKENS, Fit, TokenBudget, fit, shorten, split_context
from core.quotes import Quote, QuoteKind
from core.types import Author, Conversation, ConversationKey, Fact, Message, Role

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


def test_a_question_whose_quotes_are_too_large_keeps_its_text() -> None:
    """The quotes are shortened, each in its middle; what was not too long stays whole."""
    quotes = (
        Quote(QuoteKind.FORWARD, "BEGIN " + "x" * 20_000 + " END", "Bob"),
        Quote(QuoteKind.TABLE, "| a |\n|---|\n| 1 |"),
    )
    question = replace(ask("Summarise this, please: " + "y" * 300), quotes=quotes)
    fitted = fit(conversation("a", "b"), question, SYSTEM, TokenBudget(700, 100))
    shown = fitted.window.messages[-1]
    assert fitted.shortened
    assert (shown.text, shown.quotes[1]) == (question.text, quotes[1])
    assert re.fullmatch(r"BEGIN x+\n\[… 1\d,\d{3} characters left out …\]\nx+ END", shown.quotes[0].text)
    assert 650 < tokens(fitted) <= 700


def test_of_a_question_that_is_too_large_without_its_quotes_both_are_shortened() -> None:
    """The quotes say that they were; where they would take half of the room for that, they are left out."""
    quotes = tuple(Quote(QuoteKind.FORWARD, f"{number}" * 5_000, "Bob") for number in range(10))
    question = replace(ask("BEGIN " + "y" * 30_000 + " END"), quotes=quotes)
    for room, kept in ((2_000, 10), (500, 0)):
        fitted = fit(conversation(), question, SYSTEM, TokenBudget(room, 100))
        shown = fitted.window.messages[-1]
        assert [quote.text for quote in shown.quotes] == ["[… 5,000 characters left out …]"] * kept
        assert re.fullmatch(r"BEGIN y+\n\[… .+ …\]\ny+ END", shown.text)
        assert tokens(fitted) <= room


def facts(number: int, text: str = "The rule is this. ") -> tuple[Fact, ...]:
    """So many facts, the first of which was corrected last."""
    told = tuple(Fact(n, f"{text}{n}.", Author("U1", "Ada"), at=1_000.0 * n) for n in range(1, number + 1))
    return (replace(told[0], at=1e6, corrected=True), *told[1:])


def room_talk(*texts: str) -> tuple[Message, ...]:
    """What was said in the channel."""
    return tuple(Message(Role.USER, text, id=text, author=Author("U2", "Bob"), at=1e6) for text in texts)


def test_facts_and_notes_come_first_and_the_talk_of_the_room_before_the_question() -> None:
    """Each as one message of the system."""
    whole = replace(conversation("a", "b"), summary="- x", facts=facts(2), room=room_talk("lunch?"))
    fitted = fit(whole, ask(), SYSTEM, TokenBudget(2000, 100))
    shown = fitted.window.messages
    assert [m.id for m in shown] == ["facts", "summary", "m0", "m1", "room", "now"]
    assert [m.role for m in shown if m.id in ("facts", "summary", "room")] == [Role.SYSTEM] * 3
    assert fitted.tokens == tokens(fitted) + 2 * DATE_TOKENS


def test_the_oldest_facts_are_left_out_and_that_is_said() -> None:
    """Those told last stay, in the order of their numbers; half of their room is the notes'."""
    for summary, most in (("", 506), ("- note " * 1000, 253)):
        fitted = fit(replace(conversation("a"), facts=facts(100), summary=summary), ask(), SYSTEM, TokenBudget(2040, 9))
        told = fitted.window.messages[0]
        numbers = [int(number) for number in re.findall(r"^> (\d+)\. ", told.text, re.MULTILINE)]
        assert numbers == [1, *range(101 - len(numbers) + 1, 101)]
        assert f"> {100 - len(numbers)} older ones are left out here." in told.text
        assert most - 40 < message_tokens(told) <= most
        assert sum(message_tokens(m) for m in fitted.window.messages if m.role is Role.SYSTEM) <= 506


def test_of_the_talk_of_the_room_the_newest_is_shown() -> None:
    """As much as an eighth of the room holds; a long one is shortened in its middle."""
    fitted = fit(replace(conversation("a"), room=room_talk(*"abcdefghij" * 10)), ask(), SYSTEM, TokenBudget(2040, 9))
    shown = fitted.window.messages[-2]
    assert re.findall(r"Bob: (.)", shown.text)[-2:] == ["i", "j"]
    assert 200 < message_tokens(shown) <= 253
    fitted = fit(replace(conversation("a"), room=room_talk("x" * 9_000)), ask(), SYSTEM, TokenBudget(2040, 9))
    assert "characters left out" in fitted.window.messages[-2].text
    assert 200 < message_tokens(fitted.window.messages[-2]) <= 253


def test_people_of_the_room_are_called_as_in_the_window() -> None:
    """A namesake of somebody whom the model no longer sees is none."""
    talk = [message(Role.USER, "x" * 6000, f"m{n}", Author("U9", "Bob")) for n in range(9)]
    for budget, called in ((40_000, "Bob [0-9a-f]{4}"), (1500, "Bob")):
        said = Conversation(KEY, tuple(talk), room=room_talk("lunch?"))
        shown = fit(said, ask(), SYSTEM, TokenBudget(budget, 100)).window.messages
        assert (len(shown) > 2) == (called != "Bob")
        assert re.search(rf" {called}: lunch", shown[-2].text)


def test_kept_messages_may_begin_with_one_that_was_overheard() -> None:
    """It is a person's, like a question."""
    talk = [message(Role.USER, "x" * 300, f"m{n}") for n in range(30)]
    overheard = Conversation(KEY, tuple(replace(m, overheard=True, tokens=0) for m in talk))
    fitted = fit(overheard, ask(), SYSTEM, TokenBudget(1000, 100))
    assert fitted.window.messages[0].overheard
    assert fitted.cut == fitted.window.messages[0].id
    assert tokens(fitted) <= 1000


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


@given(
    st.lists(st.text(max_size=100), max_size=20),
    st.lists(st.builds(Quote, st.sampled_from(QuoteKind), st.text(max_size=300), st.text(max_size=60)), max_size=10),
    st.text(max_size=2000),
    st.integers(120, 3000),
)
def test_nor_with_all_that_can_stand_beside_it(texts: list[str], quotes: list[Quote], asked: str, room: int) -> None:
    """Facts, notes, quotes, and the talk of the room."""
    told = tuple(Fact(n, text, Author("U1", text), 1_000.0) for n, text in enumerate(texts))
    said = tuple(replace(said, quotes=tuple(quotes)) for said in room_talk(*texts))
    whole = replace(conversation(*texts), summary="".join(texts), facts=told, room=said)
    fitted = fit(whole, replace(ask(asked), quotes=tuple(quotes)), SYSTEM, TokenBudget(room, 100))
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
