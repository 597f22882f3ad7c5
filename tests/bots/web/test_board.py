"""Boards: what stands in a channel of the page, in a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from bots.web.board import MAX_ENTRIES, Boards, Entry, Stage
from bots.web.keys import CHANNELS, person_key
from bots.web.live import LiveBoards
from bots.web.people import PRIVATE, People
from bots.web.surface import WebSurface
from core.errors import MessageGone
from core.memory import Exchange, Memory
from core.store.keys import Keys
from core.types import Author, ConversationKey, Ending, Message, Outcome, Role, Turn
from tests.waiting import UNHURRIED, wait_until

KEY = ConversationKey("web", "page", "general")
ADA = Author("v-1", "Ada")


def turn(number: int = 1) -> Turn:
    """One question."""
    return Turn(f"web:{number}", KEY, f"{KEY}/{ADA.id}", ADA, f"question {number}", float(number))


@pytest.fixture
def boards(client: Redis) -> Boards:
    """The boards of a deployment."""
    return Boards(client, retention=3600)


async def test_a_question_never_hides_its_answer(boards: Boards) -> None:
    """A worker may have been faster than the page."""
    editor = WebSurface(boards).open_editor(turn())
    await editor.post("An answer", 0, growing=True)
    await boards.ask(KEY, Entry.of(turn()))
    [entry] = await boards.entries(KEY)
    assert (entry.answer, entry.stage, entry.question) == ("An answer", Stage.GROWING, "question 1")


async def test_an_heir_finds_what_was_begun(boards: Boards) -> None:
    """And only then; another attempt begins anew."""
    surface = WebSurface(boards)
    assert await surface.open_editor(turn()).find(0) is None
    await boards.ask(KEY, Entry.of(turn()))
    assert await surface.open_editor(turn()).find(0) is None
    ref = await surface.open_editor(turn()).post("Begun", 0, growing=True)
    assert await surface.open_editor(turn()).find(0) == ref
    assert await surface.open_editor(replace(turn(), attempt=1)).find(0) is None


async def test_the_end_says_how_it_came(boards: Boards) -> None:
    """With its note and its Retry; what was taken back is gone."""
    editor = WebSurface(boards).open_editor(turn())
    ref = await editor.post("Half", 0, growing=True)
    assert await editor.finish([ref], ["Half"], Outcome(Ending.STOPPED, "Stopped.", retry=True)) == (ref,)
    [entry] = await boards.entries(KEY)
    assert (entry.stage, entry.note, entry.retry, entry.open) == (Stage.DONE, "Stopped.", True, False)
    await editor.finish([ref], [], Outcome(Ending.STOPPED, remember=False))
    assert await boards.entries(KEY) == []


async def test_forgetting_takes_the_board_away(boards: Boards, client: Redis) -> None:
    """With the memory, and whoever looks sees it."""
    memory = Memory(client, retention=3600)
    asked = Message(Role.USER, "question 1", id="web:1", author=ADA, at=1.0)
    await memory.append(Exchange(KEY, 0, "web:1", "", (asked,)))
    await boards.ask(KEY, Entry.of(turn()))
    live_boards = LiveBoards(boards)
    async with live_boards.open(), live_boards.watching(KEY) as board:
        await wait_until(lambda: board.entries, description="the question")
        assert await memory.forget(KEY) == 1
        await wait_until(lambda: not board.entries, description="an empty board")


async def test_an_answer_that_was_begun_before_does_not_come_back(boards: Boards, client: Redis) -> None:
    """The memory would not take it; one that is begun afterwards, and what a command says, it shows."""
    memory, surface = Memory(client, retention=3600), WebSurface(boards)
    growing, waiting = [surface.open_editor(await surface.understand(turn(number))) for number in (1, 2)]
    ref = await growing.post("Half", 0, growing=True)
    command = surface.open_editor(await surface.understand(replace(turn(3), text="forget")))
    await memory.forget(KEY)
    await command.post("Done.", 0, growing=False)
    with pytest.raises(MessageGone):
        await growing.edit(ref, "Half and more", growing=True)
    with pytest.raises(MessageGone):
        await growing.finish([ref], ["All"], Outcome(Ending.COMPLETE))
    with pytest.raises(MessageGone):
        await waiting.post("First words", 0, growing=True)
    assert [entry.turn for entry in await boards.entries(KEY)] == ["web:3"]
    afresh = surface.open_editor(await surface.understand(turn(2)))
    await afresh.post("First words", 0, growing=True)
    assert [entry.turn for entry in await boards.entries(KEY)] == ["web:2", "web:3"]


async def test_the_oldest_go_when_there_are_too_many(boards: Boards, client: Redis) -> None:
    """And nothing stays for ever."""
    for number in range(MAX_ENTRIES + MAX_ENTRIES // 4 + 1):
        await boards.ask(KEY, Entry.of(turn(number)))
    entries = await boards.entries(KEY)
    assert len(entries) == MAX_ENTRIES
    assert entries[-1].turn == f"web:{MAX_ENTRIES + MAX_ENTRIES // 4}"
    assert 0 < await client.ttl(Keys.board(KEY)) <= 3600


async def test_a_gallery_follows_through_a_broken_connection(boards: Boards, client: Redis) -> None:
    """What was missed meanwhile is read again."""
    live_boards = LiveBoards(boards)
    async with live_boards.open(), live_boards.watching(KEY) as board:
        await boards.ask(KEY, Entry.of(turn(1)))
        await wait_until(lambda: len(board.entries) == 1, description="one")
        await client.client_kill_filter(_type="pubsub")
        await boards.ask(KEY, Entry.of(turn(2)))
        await wait_until(lambda: len(board.entries) == 2, description="two")
        assert [entry.turn for entry in board.open] == ["web:1", "web:2"]


async def test_a_burst_of_edits_is_read_in_fewer_looks(boards: Boards) -> None:
    """Whoever is slow sees the newest."""
    live_boards = LiveBoards(boards)
    editor = WebSurface(boards).open_editor(turn())
    async with live_boards.open(), live_boards.watching(KEY) as board:
        ref = await editor.post("x", 0, growing=True)
        await asyncio.gather(*(editor.edit(ref, "x" * length, growing=True) for length in range(50)))
        await editor.edit(ref, "the newest", growing=True)
        await wait_until(lambda: board.entries and board.entries[0].answer == "the newest", description="the newest")
        await asyncio.wait_for(board.changed(board.version - 1), UNHURRIED)


async def test_people_and_channels_are_found_again(client: Redis) -> None:
    """By another process; what is private is on no list."""
    people = People(client, retention=3600)
    await people.set_name("v-1", "Ada")
    await people.set_channel("v-1", "ops")
    await people.set_channel("v-2", PRIVATE)
    again = People(client, retention=3600)
    ada = await again.find("v-1")
    assert (ada.name, ada.channel, ada.author) == ("Ada", "ops", Author("v-1", "Ada"))
    assert (await again.find("v-9abc")).author.name == "Guest 9abc"
    assert (await again.find("p-x", given="Bob")).author.name == "Bob"
    assert await again.channels() == ["general", "ops"]
    assert 0 < await client.ttl(person_key("v-1")) <= 3600
    assert 0 < await client.ttl(CHANNELS) <= 3600
