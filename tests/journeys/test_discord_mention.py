"""The whole way of a message in Discord: the real discord.py, real processes, a real Redis, and the doubles."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from core.policy import HEARS
from tests.doubles.discord import ADA, BOB, GENERAL, DiscordDouble
from tests.doubles.discord_world import CLEO, GUILD, RANDOM
from tests.doubles.tgi import TgiDouble
from tests.journeys.discord import in_discord, is_done, parley, reply
from tests.journeys.process import STREAM, Parley
from tests.waiting import wait_until

__all__ = ["parley"]  # a fixture

TABLE = "Here:\n\n| Name | Count |\n|---|---|\n| apples | 3 |\n\nDone."


async def test_a_mention_is_answered_under_the_question_while_the_channel_watches(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """The reply grows by edits until it is exactly what was generated; nothing is refused, and nobody is rung."""
    tgi.answer, tgi.rate = STREAM, 60
    posted = await reply(discord, discord.mention("tell me a story"))
    assert posted.text == STREAM
    assert len(posted.shown) >= 3
    assert all(STREAM.startswith(text) for text in posted.shown)
    assert all(len(a) <= len(b) for a, b in pairwise(posted.shown))
    assert posted.labels == ["Regenerate", "👍", "👎"]
    assert discord.refused == []
    assert discord.pings == []
    assert len(discord.replies()) == 1
    edits = [call for call in discord.calls if call.method == "PATCH"]
    assert all("flags" not in call.body and call.body["allowed_mentions"]["parse"] == [] for call in edits)
    assert posted.flags == 4, "link previews are suppressed"
    assert discord.rest.typing[0][0] < posted.at


async def test_typing_is_one_call_although_hearing_and_answering_are_two(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Whoever hears the question begins, and the answer goes on from there until its first words."""
    tgi.answer, tgi.first_after = "Yes.", 1.5
    asked = discord.mention("are you there?")
    await reply(discord, asked)
    typed = [at for at, channel in discord.rest.typing if channel == GENERAL]
    assert len(typed) == 1
    assert typed[0] - asked.at < 1


async def test_who_waits_for_a_slot_sees_that_they_were_heard(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """The only slot is taken by an answer elsewhere."""
    tgi.answer, tgi.rate = STREAM, 30
    async with in_discord(discord, tgi, tmp_path, WORKER_SLOTS="1"):
        first = discord.mention("tell me a story")
        await reply(discord, first, final=False)
        second = discord.mention("and me?", channel=RANDOM, user=BOB)
        await wait_until(lambda: any(channel == RANDOM for _, channel in discord.rest.typing), description="typing")
        assert not is_done(discord.replies(first)[0])
        assert (await reply(discord, second)).text == STREAM


async def test_one_answer_although_the_event_comes_twice(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """As it does where two connections are open for one bot."""
    asked = discord.mention("hello")
    discord.resend(asked)
    await reply(discord, asked)
    discord.resend(asked)
    await reply(discord, discord.mention("and now?"))
    assert len(discord.replies()) == 2
    assert len(tgi.requests) == 2


async def test_the_channel_is_remembered_and_people_are_told_apart(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """The prompt holds what was said in the channel, by whom, and nothing from elsewhere."""
    tgi.answer = "Noted."
    await reply(discord, discord.mention("my colour is blue"))
    await reply(discord, discord.mention("a secret of another channel", channel=RANDOM))
    await reply(discord, discord.mention(f"and <@{ADA}> knows mine", user=BOB))
    prompt = tgi.requests[-1].inputs
    assert "Ada: my colour is blue\nAssistant: Noted.\nUser: Bob: and @Ada knows mine\nAssistant:" in prompt
    assert "secret" not in prompt


async def test_direct_messages_need_no_mention(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """And are a conversation of their own."""
    asked = discord.dm("hello")
    await wait_until(lambda: discord.replies(channel=asked.channel), description="an answer")
    assert "hello" in tgi.requests[-1].inputs


async def test_a_reply_to_somebody_brings_what_they_said(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Without it nobody could know what "this" is; without the Message Content intent only our own words are told."""
    tgi.answer = "A promise for a while."
    answer = await reply(discord, discord.mention("what is a lease?"))
    await reply(discord, discord.mention("say this in German", reply_to=answer.id))
    assert "> A promise for a while." in tgi.requests[-1].inputs


async def test_what_nobody_says_to_us_is_not_heard(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Neither people among themselves, nor other bots, nor ourselves."""
    discord.say("hello Bob")
    discord.mention("I am a bot", user="300000000000000009")
    await reply(discord, discord.mention("hello"))
    assert len(tgi.requests) == 1
    assert len(discord.replies()) == 1


async def test_a_thread_goes_on_from_its_question_and_keeps_to_itself(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """What is said in the thread is not known in the channel."""
    tgi.answer = "Noted."
    asked = discord.mention("first question")
    await reply(discord, asked)
    thread = discord.thread(asked)
    deeper = discord.mention("deeper", channel=thread.id)
    await reply(discord, deeper)
    assert "first question\nAssistant: Noted.\nUser: Ada: deeper\nAssistant:" in tgi.requests[-1].inputs
    await reply(discord, discord.mention("second question"))
    assert "first question" in tgi.requests[-1].inputs
    assert "deeper" not in tgi.requests[-1].inputs


async def test_a_long_answer_is_split_and_nothing_is_lost(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """Code goes on as code in the next message, and only the last one has buttons."""
    words = " ".join(f"w{i}" for i in range(250))
    tgi.answer = f"{words}\n\n```python\n" + "\n".join(f"print({i})" for i in range(160)) + "\n```\n\nEnd."
    tgi.rate = 2000
    discord.mention("at length")
    await wait_until(lambda: discord.replies() and is_done(discord.replies()[-1]))
    posted = discord.replies()
    assert len(posted) >= 2
    assert all(message.text.count("```") % 2 == 0 for message in posted)
    assert [bool(message.buttons) for message in posted] == [False] * (len(posted) - 1) + [True]
    joined = "".join(message.text for message in posted)
    assert all(f"print({i})" in joined for i in range(160))
    assert joined.endswith("End.")
    assert discord.refused == []


async def test_a_very_long_answer_ends_as_a_file(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """Five messages, and the whole of it beside the last one."""
    tgi.answer, tgi.rate = "\n\n".join(f"Paragraph {i}: " + "ratherlongword " * 27 for i in range(30)), 20_000
    async with in_discord(discord, tgi, tmp_path, MAX_NEW_TOKENS="5000", CONTEXT_TOKENS="16000"):
        discord.mention("write a book")
        await wait_until(lambda: discord.replies() and is_done(discord.replies()[-1]))
    posted = discord.replies()
    assert len(posted) == 5
    assert posted[-1].files["answer.md"].strip() == tgi.answer.strip()
    assert "The whole answer is in the file." in posted[-1].text


async def test_the_file_stays_where_the_end_is_shown_twice(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path
) -> None:
    """As after a call that Discord did not answer in time: it might still put back older text."""
    tgi.answer, tgi.rate = "Manyratherlong wordsthatare saidinhere. " * 350, 1000
    room = {"MAX_NEW_TOKENS": "5000", "CONTEXT_TOKENS": "16000"}
    async with in_discord(discord, tgi, tmp_path, LEASE_SECONDS="8", **room):
        discord.slow("PATCH /channels/:id/messages/:id", 3.0, times=1)
        discord.mention("everything you know")
        await wait_until(lambda: discord.replies() and is_done(discord.replies()[-1]))
        last = discord.replies()[-1]
        ends = len(last.versions)
        await wait_until(lambda: len(last.versions) > ends, description="the end once more")
        assert last.files["answer.md"].strip() == tgi.answer.strip()
        assert "The whole answer is in the file." in last.text


async def test_tables_stand_in_columns(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Discord has none."""
    tgi.answer = TABLE
    posted = await reply(discord, discord.mention("a table"))
    assert posted.text == "Here:\n\n```\nName    Count\n──────  ─────\napples  3\n```\n\nDone."


async def test_nobody_is_rung_whatever_the_model_writes(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """Neither everybody, nor a person, nor a role, nor who asked."""
    tgi.answer = f"@everyone @here <@{BOB}> <@&400000000000000001> hello"
    await reply(discord, discord.mention("ring them"))
    assert discord.pings == []


async def test_an_edited_question_is_remembered_as_it_reads_now(
    discord: DiscordDouble, tgi: TgiDouble, parley: Parley
) -> None:
    """And a deleted one not at all."""
    tgi.answer = "Noted."
    edited, deleted = discord.mention("my colour is bleu"), discord.mention("my number is 7", user=BOB)
    await reply(discord, edited)
    await reply(discord, deleted)
    discord.edit(edited, f"{edited.text.split()[0]} my colour is blue")
    discord.delete(deleted)

    async def remembered() -> bool:
        await reply(discord, discord.mention("what do you know?", user=CLEO))
        prompt = tgi.requests[-1].inputs
        return "my colour is blue" in prompt and "bleu" not in prompt and "number is 7" not in prompt

    await wait_until(remembered, description="what was changed is changed in memory")


@pytest.mark.parametrize("edits", ["whole", "terse", "gone"])
async def test_a_correction_keeps_what_the_question_replies_to(
    discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path, edits: str
) -> None:
    """While it is answered and afterwards: an edit changes what was typed, and nothing else, whatever it tells."""
    discord.allow_message_content()
    discord.terse_edits = edits == "terse"
    async with in_discord(discord, tgi, tmp_path, DISCORD_MESSAGE_CONTENT="true"):
        plan = discord.say("the plants go to Cleo", user=BOB)
        tgi.answer, tgi.rate = STREAM, 40
        asked = discord.mention("is tihs settled?", reply_to=plan.id)
        await reply(discord, asked, final=False)
        discord.edit(asked, f"{asked.text.split()[0]} is this settled?")
        await reply(discord, asked)
        tgi.answer, tgi.rate = "Noted.", 0
        await reply(discord, discord.mention("go on"))
        prompt = tgi.requests[-1].inputs
        assert "Bob" in prompt
        assert 0 < prompt.index("> the plants go to Cleo\n") < prompt.index("is this settled?")
        if edits == "gone":
            discord.delete(plan)
        discord.edit(asked, f"{asked.text.split()[0]} is it settled?")

        async def remembered() -> bool:
            await reply(discord, discord.mention("and now?"))
            prompt = tgi.requests[-1].inputs
            return "> the plants go to Cleo\n" in prompt and "is it settled?" in prompt

        await wait_until(remembered, description="the newest text, with what it replies to")


async def test_a_deleted_question_ends_its_answer(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """And says so."""
    tgi.answer, tgi.rate = STREAM, 40
    asked = discord.mention("a long one")
    posted = await reply(discord, asked, final=False)
    discord.delete(asked)
    await wait_until(lambda: "deleted" in posted.text, description="a note")


async def test_people_and_places_that_are_not_allowed(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """They are told once."""
    settings = {"DISCORD_DENY_USERS": BOB, "DISCORD_ALLOW_CHANNELS": GENERAL, "DISCORD_ALLOW_DMS": "false"}
    async with in_discord(discord, tgi, tmp_path, **settings):
        discord.mention("may I?", user=BOB)
        discord.mention("may I?", user=BOB)
        discord.mention("here?", channel=RANDOM)
        direct = discord.dm("and here?")
        await reply(discord, discord.mention("and I?"))
        await wait_until(lambda: discord.replies(channel=RANDOM) and discord.replies(channel=direct.channel))
        said = [m.text for m in discord.replies() if "not enabled" in m.text]
        assert said == ["I'm not enabled for you here. Ask the person who runs Parley here to add you."]
    assert len(tgi.requests) == 1


async def test_being_added_to_a_server(discord: DiscordDouble, tgi: TgiDouble, parley: Parley) -> None:
    """A welcome, once, that says what it reads and how to make it forget."""
    await wait_until(lambda: "server list received" in parley.log)
    channel = discord.invite("100000000000000099")
    await wait_until(lambda: discord.replies(channel=channel))
    welcome = discord.replies(channel=channel)[0].text
    assert "/forget" in welcome
    assert HEARS["mention"] in welcome
    await reply(discord, discord.mention("hello", channel=channel))


async def test_a_server_that_was_left_is_forgotten(discord: DiscordDouble, tgi: TgiDouble, tmp_path: Path) -> None:
    """After a grace period: here of no time."""
    async with in_discord(discord, tgi, tmp_path, DISCORD_LEAVE_DAYS="0"):
        await reply(discord, discord.mention("my colour is blue"))
        discord.kick(GUILD)
        await reply_in_dm(discord)
    async with in_discord(discord, tgi, tmp_path, DISCORD_LEAVE_DAYS="0") as parley:
        await wait_until(lambda: "left servers forgotten" in parley.log)
    discord.guilds[GUILD].installed = True
    async with in_discord(discord, tgi, tmp_path, DISCORD_LEAVE_DAYS="0"):
        await reply(discord, discord.mention("what is my colour?"))
        assert "blue" not in tgi.requests[-1].inputs


async def reply_in_dm(discord: DiscordDouble) -> None:
    """Something that is answered, so that what came before it was taken."""
    asked = discord.dm("hello")
    await wait_until(lambda: discord.replies(channel=asked.channel))
