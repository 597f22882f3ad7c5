"""When a message in a thread that doesn't mention Parley is for it: one rule, whatever the platform."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import get_args

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from core.memory.choices import Choices
from core.memory.conversations import Memory
from core.memory.exchange import Exchange, Thread
from core.memory.following import OPENED_THREAD, Remark, ThreadState, calls_somebody
from core.store.keys import Keys
from core.turns.queue import TurnQueue
from core.types import Author, ConversationKey, ConversationSettings, Follow, Message, Role, Turn

CHANNEL = ConversationKey("slack", "T1", "C1")
THREAD = replace(CHANNEL, thread="5.0")
ANN, BOB = Author("U1", "Ann Archer"), Author("U2", "Bob Miller")
APP = Author("B1", "Alerts", app=True)
PEOPLE = [ANN, ANN, BOB]
MONTH = 30 * 86_400


class Room:
    """A channel with one thread, and a clock of message ids."""

    def __init__(self, client: redis.asyncio.Redis, follow: Follow = "auto") -> None:
        self.client = client
        self.memory = Memory(client, retention=MONTH, choices=Choices(follow=follow))
        self.queue = TurnQueue(client, self.memory, platforms=["slack"])
        self.ids = 0

    def turn(self, author: Author, key: ConversationKey = THREAD, text: str = "and now?", opens: str = "") -> Turn:
        """A message of somebody."""
        self.ids += 1
        place = {OPENED_THREAD: opens} if opens else {}
        return Turn(f"slack:T1:C1:{self.ids}", key, f"{key}/{author.id}", author, text, 1.0, place=place)

    async def opened(self, author: Author = ANN) -> None:
        """Somebody mentions Parley in the channel, which answers in a thread."""
        await self.queue.submit(self.turn(author, CHANNEL, opens=THREAD.thread))

    async def asks(self, author: Author, text: str = "and now?") -> None:
        """Somebody mentions Parley in the thread."""
        assert (await self.queue.submit(self.turn(author, text=text))).accepted

    async def answered(self, *read: Author, heard: str = "a token") -> None:
        """Ann's mention in the thread is answered, for which what ``read`` said in it was read."""
        loaded = await self.memory.load(THREAD, Thread("slack:T1:C1:5.0", 5.0))
        said = [Message(Role.USER, "x", f"r{n}", author, 1.0, overheard=True) for n, author in enumerate(read)]
        asked = Message(Role.USER, "and now?", f"q{self.ids}", ANN, 2.0)
        answer = Message(Role.ASSISTANT, "now", f"a{self.ids}", at=2.0, reply_to=asked.id)
        exchange = Exchange(THREAD, loaded.epoch, asked.id, "", (*said, asked, answer), heard=heard)
        assert await self.memory.append(exchange)

    async def hears(self, author: Author, text: str = "and then?", *, others: bool = False, id_: str = "") -> bool:
        """Whether a message without a mention is for Parley."""
        name = id_ or self.turn(author).id
        return await self.memory.following.is_for_parley(Remark(THREAD, name, author, text, others), own="Parley")


@pytest.fixture
def room(client: redis.asyncio.Redis) -> Room:
    """One in which nobody chose anything."""
    return Room(client)


# The rule, without Redis.


STATES = [
    ("joined known", {"auto": True, "always": True}),
    ("joined known several", {"auto": False, "always": True}),
    ("joined", {"auto": False, "always": True}),
    ("joined several", {"auto": False, "always": True}),
    ("known", {"auto": False, "always": False}),
    ("", {"auto": False, "always": False}),
    ("joined known muted", {"auto": False, "always": False}),
    ("joined known several muted", {"auto": False, "always": False}),
]


@pytest.mark.parametrize(("thread", "followed"), STATES, ids=[state for state, _ in STATES])
def test_a_thread_is_followed_as_chosen(thread: str, followed: dict[Follow, bool]) -> None:
    """Never where only mentions count; with a second person only where that was chosen; never a muted one."""
    state = ThreadState(**dict.fromkeys(thread.split(), True))
    assert {mode: state.follows(mode) for mode in get_args(Follow)} == {"mention": False, **followed}


FOR_BOB = [
    "@bob can you look?",
    "  @Bob: look",
    "@somebody-else hi",
    "@Bob.Miller hi",
    "Bob, can you look?",
    "bob: done?",
    "Bob Miller: done?",
    "BOB MILLER , done?",
    "\uff22ob, done?",
    "José, qué tal?",
]
FOR_PARLEY = [
    "and on Friday?",
    "@Parley and on Friday?",
    "@parley, and on Friday?",
    "Parley, and on Friday?",
    "Parley: and on Friday?",
    "Carl, who is not here: what does he do?",
    "Well, what about Bob?",
    "First: what is a lease?",
    "What did Bob, our manager, say?",
    "bobsled, what is it?",
    "https://bob.example, what is it?",
    "bob@example.org is whose address?",
    "mail bob@example.org, please",
    "12:30, is that right?",
    "@",
    "@ 5 o'clock?",
    ":",
    "",
]


@pytest.mark.parametrize(
    ("text", "somebody"), [*((text, True) for text in FOR_BOB), *((text, False) for text in FOR_PARLEY)]
)
def test_whom_a_message_calls(text: str, somebody: bool) -> None:
    """A name after an @, or the name of somebody in the thread before a comma or a colon; but not Parley's."""
    assert calls_somebody(text, ["Bob Miller", "José"], "Parley") == somebody


def test_parley_may_have_a_name_of_several_words() -> None:
    """People shorten it."""
    assert not calls_somebody("@Team hello", ["Bob"], "Team Helper")
    assert not calls_somebody("Team Helper, hello", ["Team Lead"], "Team Helper")


@given(st.text(), st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_no_text_breaks_it(text: str, names: list[str], own: str) -> None:
    """Whatever people write, and are called."""
    assert calls_somebody(text, names, own) in (True, False)


# With Redis.


async def test_one_person_needs_no_mention_in_the_thread_of_their_answer(room: Room) -> None:
    """From the moment when the question is accepted."""
    assert not await room.hears(ANN)
    await room.opened()
    assert await room.hears(ANN)
    assert await room.hears(ANN, "and what of Monday?")


async def test_from_a_second_persons_first_word_on_everybody_has_to_mention_parley(room: Room) -> None:
    """They are not answered, and the first person no more; a mention does not change that."""
    await room.opened()
    assert not await room.hears(BOB)
    assert not await room.hears(ANN)
    await room.asks(ANN)
    assert not await room.hears(ANN)


async def test_a_second_persons_mention_is_a_word_as_well(room: Room) -> None:
    """Nobody is followed afterwards."""
    await room.opened()
    await room.asks(BOB)
    assert not await room.hears(BOB)
    assert not await room.hears(ANN)


async def test_of_two_people_who_speak_at_the_same_moment_one_may_be_answered(room: Room) -> None:
    """The first; never the second, in whatever order they come."""
    for _ in range(20):
        await room.client.flushdb()
        await room.opened()
        ann, bob = await asyncio.gather(room.hears(ANN), room.hears(BOB))
        assert not bob
        assert not await room.hears(ANN), ann


async def test_a_thread_in_which_parley_was_never_asked_is_not_followed_and_not_stored(room: Room) -> None:
    """Whatever is chosen."""
    await room.memory.choose(CHANNEL, "follow", "always")
    for author in (ANN, BOB):
        assert not await room.hears(author)
    assert not await room.client.exists(Keys.following(THREAD))


async def test_a_thread_that_people_began_is_followed_once_it_is_known_who_spoke_there(room: Room) -> None:
    """Not while the question is being answered, nor if the thread could not be read."""
    await room.asks(ANN)
    assert not await room.hears(ANN)
    await room.answered(heard="")
    assert not await room.hears(ANN)
    await room.answered(ANN, APP)
    assert await room.hears(ANN)


async def test_people_whose_words_were_read_count(room: Room) -> None:
    """Who spoke before Parley was asked into the thread has been there all the time."""
    await room.asks(ANN)
    await room.answered(BOB, APP)
    assert not await room.hears(ANN)
    await room.memory.choose(CHANNEL, "follow", "always")
    assert await room.hears(ANN)


async def test_always_follows_a_thread_that_could_not_be_read(room: Room) -> None:
    """Once Parley answered there: it doesn't matter who spoke."""
    await room.memory.choose(CHANNEL, "follow", "always")
    await room.asks(ANN)
    assert not await room.hears(ANN)
    await room.answered(heard="")
    assert await room.hears(BOB)


async def test_an_apps_question_does_not_count_as_a_persons(room: Room) -> None:
    """It may ask, and the one person is followed all the same."""
    await room.opened()
    await room.asks(APP)
    assert await room.hears(ANN)


@pytest.mark.parametrize("mode", get_args(Follow))
async def test_what_is_meant_for_somebody_else_is_never_answered(client: redis.asyncio.Redis, mode: Follow) -> None:
    """Not even by the one person, where everything else is answered."""
    room = Room(client, mode)
    await room.opened()
    assert not await room.hears(ANN, others=True)
    assert not await room.hears(ANN, "@bob can you look?")
    assert await room.hears(ANN) == (mode != "mention")


async def test_always_answers_everybody_except_a_person_who_calls_another_by_name(room: Room) -> None:
    """Names are those of people whose words are stored in the thread."""
    await room.memory.choose(CHANNEL, "follow", "always")
    await room.opened()
    for author in (ANN, BOB, ANN):
        assert await room.hears(author)
    assert await room.hears(ANN, "Bob, can you look?")  # nobody knows yet that there is a Bob
    message = '{"v":1,"id":"m","role":"user","text":"x","at":1,"uid":"U2","name":"Bob Miller"}'
    await room.client.rpush(Keys.messages(THREAD), message, "no JSON", '{"name":7}')
    assert not await room.hears(ANN, "Bob, can you look?")
    assert await room.hears(BOB, "Bob: that's my name")


@pytest.mark.parametrize("where", ["messages", "room"])
async def test_a_person_who_spoke_in_the_channel_is_known_by_name_in_its_threads(room: Room, where: str) -> None:
    """While one person talks with Parley in the thread, too: it says nothing to what is meant for somebody else."""
    await room.opened()
    assert await room.hears(ANN, "Bob, can you look?")  # nobody knows yet that there is a Bob
    message = '{"v":1,"id":"m","role":"user","text":"x","at":1,"uid":"U2","name":"Bob Miller"}'
    await room.client.rpush(getattr(Keys, where)(CHANNEL), message)
    assert not await room.hears(ANN, "Bob, can you look?")
    assert await room.hears(ANN, "Note: it is Friday")


async def test_a_threads_choice_goes_before_its_channels_and_that_before_the_operators(
    client: redis.asyncio.Redis,
) -> None:
    """As with all settings; what can't be read is not chosen."""
    room = Room(client, "mention")
    await room.opened()
    assert not await room.hears(ANN)
    await room.memory.choose(CHANNEL, "follow", "auto")
    assert await room.hears(ANN)
    await room.memory.choose(THREAD, "follow", "mention")
    assert not await room.hears(ANN)
    await room.client.set(Keys.settings(THREAD), '{"v":1,"follow":"nonsense"}')
    assert not await room.hears(ANN)


async def test_mute_wins_over_always_until_it_is_taken_back(room: Room) -> None:
    """It can be said twice, and before Parley was asked anything."""
    await room.memory.choose(CHANNEL, "follow", "always")
    await room.memory.following.mute(THREAD, muted=True)
    await room.opened()
    await room.memory.following.mute(THREAD, muted=True)
    assert not await room.hears(ANN)
    await room.memory.following.mute(THREAD, muted=False)
    assert await room.hears(ANN)


async def test_a_message_that_was_accepted_stays_a_question_when_it_comes_again(room: Room) -> None:
    """Although a second person spoke meanwhile, or the thread was muted."""
    await room.opened()
    turn = room.turn(ANN)
    assert await room.hears(ANN, id_=turn.id)
    assert (await room.queue.submit(turn)).accepted
    assert not await room.hears(BOB)
    await room.memory.following.mute(THREAD, muted=True)
    assert await room.hears(ANN, id_=turn.id)
    assert (await room.queue.submit(turn)).status == "duplicate"


async def test_one_round_trip_and_one_key_that_expires(room: Room) -> None:
    """It names nobody."""
    await room.opened()
    before = (await room.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await room.hears(ANN)
    await room.hears(BOB)
    assert (await room.client.info("commandstats"))["cmdstat_evalsha"]["calls"] <= before + 2
    assert 0 < await room.client.ttl(Keys.following(THREAD)) <= MONTH
    assert not {ANN.id, BOB.id, ANN.name} & {*(await room.client.hgetall(Keys.following(THREAD))).values()}


async def test_forgetting_a_thread_forgets_who_spoke_there_and_stays_in_it(room: Room) -> None:
    """The person goes on without a mention; of several it stays known that they are several."""
    await room.opened()
    await room.memory.forget(THREAD)
    assert "person" not in await room.client.hgetall(Keys.following(THREAD))
    assert await room.hears(ANN)
    assert not await room.hears(BOB)
    await room.memory.forget(THREAD)
    assert not await room.hears(ANN)
    await room.memory.erase(CHANNEL)
    assert not await room.client.exists(Keys.following(THREAD))


async def test_a_key_of_another_type_costs_only_itself(room: Room) -> None:
    """The thread is one that Parley does not know, until it is asked there."""
    await room.client.set(Keys.following(THREAD), "x")
    assert not await room.hears(ANN)
    await room.client.set(Keys.following(THREAD), "x")
    await room.opened()
    assert await room.hears(ANN)


@pytest.mark.parametrize("mode", get_args(Follow))
async def test_the_rule_holds_after_any_story(client: redis.asyncio.Redis, mode: Follow) -> None:
    """People speak, call, mention and mute in any order: what is stored decides as the whole story would."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(30):
        await client.flushdb()
        room, opened, muted, spoke = Room(client, mode), False, False, set[str]()
        for _ in range(12):
            step, author = (
                chance.choice(["speaks", "calls", "mentions", "mutes", "unmutes", "opens"]),
                chance.choice(PEOPLE),
            )
            if step in ("mutes", "unmutes"):
                await room.memory.following.mute(THREAD, muted=step == "mutes")
                muted = step == "mutes"
                continue
            exists = bool(await client.exists(Keys.following(THREAD)))
            if step == "opens":
                await room.opened(author)
                opened = True
            elif step == "mentions":
                await room.asks(author)
            else:
                heard = await room.hears(author, others=step == "calls")
            if exists or step in ("opens", "mentions"):
                spoke.add(author.id)
            if step in ("speaks", "calls"):
                allowed = mode == "always" or (mode == "auto" and spoke == {author.id})
                assert heard == (step == "speaks" and opened and not muted and allowed)


def test_what_is_chosen_is_stored_and_read() -> None:
    """As every setting."""
    chosen = Choices().change(ConversationSettings(), "follow", "Always")
    assert chosen == ConversationSettings(follow="always")
    assert ConversationSettings.from_json(chosen.to_json()) == chosen
