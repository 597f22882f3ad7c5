"""What is an order to remember, to correct or to forget a fact, and what is for the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.memory.fact_commands import CorrectFact, RemoveFact, TellFact, most_alike, read_fact_command, told_in
from core.types import Author, Fact

STANDUP = "standup is at 9:15"
ORDERS = {
    "remember: standup is at 9:15": TellFact(STANDUP),
    "Remember: standup is at 9:15": TellFact(STANDUP),
    "REMEMBER : standup is at 9:15": TellFact(STANDUP),
    "remember\uff1astandup is at 9:15": TellFact(STANDUP),
    "  remember:\n\n standup is\nat 9:15 ": TellFact(STANDUP),
    "`remember: standup is at 9:15`": TellFact(STANDUP),
    "please remember: standup is at 9:15": TellFact(STANDUP),
    "remember this: standup is at 9:15": TellFact(STANDUP),
    "remember that: standup is at 9:15": TellFact(STANDUP),
    "remember that standup is at 9:15": TellFact(STANDUP),
    "Please remember that standup is at 9:15.": TellFact(f"{STANDUP}."),
    "remember that the meeting is on Monday": TellFact("the meeting is on Monday"),
    "remember that Dr. Who is on call": TellFact("Dr. Who is on call"),
    "remember that we use Python 3.11": TellFact("we use Python 3.11"),
    "/remember standup is at 9:15": TellFact(STANDUP),
    "/remember that standup is at 9:15": TellFact(STANDUP),
    "/remember: standup is at 9:15": TellFact(STANDUP),
    "!remember standup is at 9:15": TellFact(STANDUP),
    "remember: is it 9:15?": TellFact("is it 9:15?"),
    "remember:": TellFact(""),
    "/remember": TellFact(""),
    "that is wrong: standup is at 9:15": CorrectFact(0, STANDUP),
    "That's wrong: standup is at 9:15": CorrectFact(0, STANDUP),
    "that\u2019s wrong: standup is at 9:15": CorrectFact(0, STANDUP),
    "No, that is wrong: standup is at 9:15": CorrectFact(0, STANDUP),
    "that is not right: standup is at 9:15": CorrectFact(0, STANDUP),
    "Actually, that is wrong: standup is at 9:15": CorrectFact(0, STANDUP),
    "sorry, no, 3 is wrong: standup is at 9:15": CorrectFact(3, STANDUP),
    "that is wrong:": CorrectFact(0, ""),
    "3 is wrong: standup is at 9:15": CorrectFact(3, STANDUP),
    "#3 is wrong: standup is at 9:15": CorrectFact(3, STANDUP),
    "number 3 is wrong: standup is at 9:15": CorrectFact(3, STANDUP),
    "Fact 3 is incorrect: standup is at 9:15": CorrectFact(3, STANDUP),
    "3 is wrong": CorrectFact(3, ""),
    "forget 3": RemoveFact(3, asks=False),
    "Forget 3.": RemoveFact(3, asks=False),
    "please forget 3": RemoveFact(3, asks=False),
    "Forget 3, please.": RemoveFact(3, asks=False),
    "forget 3 please?": RemoveFact(3, asks=True),
    "forget #3": RemoveFact(3, asks=False),
    "forget fact 3": RemoveFact(3, asks=False),
    "forget number 12": RemoveFact(12, asks=False),
    "/forget 3": RemoveFact(3, asks=False),
    "`forget 3`": RemoveFact(3, asks=False),
    "forget 3?": RemoveFact(3, asks=True),
}
QUESTIONS = (
    "remember",
    "remember?",
    "Remember when we met?",
    "remember when we met: it rained",
    "do you remember: what did I say?",
    "I remember: it was Monday",
    "remember that time we lost the key",
    "Remember that day?",
    "remember that bug: it was in the parser",
    "remember that standup is at 9:15?",
    "remember that the API is rate limited. Write me a client for it.",
    "Remember that we use Python 3.\n\nWrite a function that adds two numbers.",
    "remember that standup is at 9:15! When is lunch",
    "remember to send the report on Friday",
    "remember me",
    "remember the milk",
    "remembers: nobody",
    "members: Ann, Bob",
    "What does remember: mean?",
    "to remember: buy milk",
    "That is wrong.",
    "that is wrong",
    "that's wrong, it's 9:30",
    "that is wrong because: it rained",
    "is that wrong: 1 + 1 = 3?",
    "this is wrong: 1 + 1 = 3",
    "3 is wrong because 2 is right",
    "why is 3 wrong: it is prime",
    "forget",
    "forget now",
    "forget 3 of them",
    "forget 3 and tell me a joke",
    "forget 3.5",
    "forget about 3",
    "forget 12345678901",
    "don't forget 3",
    "",
)


@pytest.mark.parametrize(("text", "order"), ORDERS.items())
def test_what_is_clearly_an_order_is_read_as_one(text: str, order: object) -> None:
    """In any case, with a colon or "that", and as the help writes it."""
    assert read_fact_command(text) == order


@pytest.mark.parametrize("text", QUESTIONS)
def test_what_may_be_meant_for_the_model_is_no_order(text: str) -> None:
    """Remember is a common word, and so is wrong."""
    assert read_fact_command(text) is None


@given(st.text(alphabet=st.sampled_from("rembthaiswong:f# 3?\n`")) | st.text())
def test_whatever_people_write_is_read_or_left(text: str) -> None:
    """It never raises, and what was told is one line."""
    told = told_in(text)
    assert told == " ".join(told.split())


def fact(number: int, text: str) -> Fact:
    """One that somebody told."""
    return Fact(number, text, Author("U1", "Ann"), 1.0)


FACTS = (
    fact(1, STANDUP),
    fact(2, "the release is on Thursday"),
    fact(4, "Ann owns the release notes"),
    fact(7, "Bob is on holiday until May"),
)
MEANT = {
    "standup is at 9:30": 1,
    "Standup: 9:30": 1,
    "the release is on Friday": 2,
    "Carla owns the release notes": 4,
    "release": 2,
    "Bob is back": 7,
    "lunch is at noon": 0,
    "it is on Friday": 0,
    "": 0,
}


@pytest.mark.parametrize(("text", "number"), MEANT.items())
def test_a_correction_means_the_fact_with_which_it_shares_most_words(text: str, number: int) -> None:
    """Half of the shorter one's at least; of several, the shortest; words such as "is" do not count."""
    found = most_alike(text, FACTS)
    assert (found.number if found else 0) == number
