"""The double of Slack, against the clients that Parley uses: the real slack_sdk and slack_bolt."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.doubles.slack import SlackDouble
from tests.doubles.slack_page import markdown
from tests.doubles.slack_records import Button, escape
from tests.waiting import wait_until

Call = Callable[[], Awaitable[Any]]
Blocks = list[dict[str, Any]]


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    """A workspace in which nothing was said yet."""
    async with SlackDouble() as double:
        yield double


@pytest.fixture
def client(slack: SlackDouble) -> AsyncWebClient:
    """The client that every Slack app in Python has."""
    return AsyncWebClient(token=slack.bot_token, base_url=slack.url)


class Heard:
    """An app that notes what it hears, and answers nothing."""

    def __init__(self, client: AsyncWebClient) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.retries: list[Any] = []
        self.deaf = False
        self.app = AsyncApp(client=client, logger=logging.getLogger("quiet"))
        self.app.use(self._middleware)
        self.app.event(re.compile(".*"))(self._note)
        self.app.action(re.compile(".*"))(self._note)
        self.app.command(re.compile(".*"))(self._note)

    async def _middleware(self, req: Any, next: Call) -> None:  # noqa: A002 - Bolt passes by name
        self.retries.append(req.headers.get("x-slack-retry-num"))
        if not self.deaf:
            await next()

    async def _note(self, body: dict[str, Any], ack: Call) -> None:
        await ack()
        self.bodies.append(body)

    def events(self) -> list[tuple[str, str]]:
        """The types and subtypes of the events, in order."""
        events = [body["event"] for body in self.bodies if "event" in body]
        return [(event["type"], event.get("subtype", "")) for event in events]


@asynccontextmanager
async def connected(slack: SlackDouble, client: AsyncWebClient, *, ping: float = 5.0) -> AsyncIterator[Heard]:
    """An app at the other end of Socket Mode."""
    heard = Heard(client)
    handler = AsyncSocketModeHandler(heard.app, slack.app_token, ping_interval=ping)
    await handler.connect_async()
    await wait_until(lambda: slack.sockets, description="a socket")
    try:
        yield heard
    finally:
        await handler.close_async()


async def refusal(call: Awaitable[Any]) -> str:
    """The error with which Slack refuses a call."""
    with pytest.raises(SlackApiError) as raised:
        await call
    return str(raised.value.response["error"])


async def test_a_mention_arrives_twice_and_is_acknowledged(slack: SlackDouble, client: AsyncWebClient) -> None:
    """As `message` and as `app_mention`: two events about one message."""
    async with connected(slack, client) as heard:
        ts = await slack.mention("C0GENERAL", "is 1 < 2 & <@U0BOB> right?")
        await wait_until(lambda: len(heard.bodies) == 2 and not slack.unacked(), description="both, acknowledged")
    assert heard.events() == [("message", ""), ("app_mention", "")]
    first, second = heard.bodies
    assert first["event_id"] != second["event_id"]
    assert {(body["event"]["channel"], body["event"]["ts"]) for body in heard.bodies} == {("C0GENERAL", ts)}
    assert first["event"]["text"] == "<@U0PARLEY> is 1 &lt; 2 &amp; <@U0BOB> right?"
    assert first["event"]["channel_type"] == "channel"
    assert "channel_type" not in second["event"]
    assert first["authorizations"][0]["user_id"] == slack.bot_user
    assert all(envelope.acked_at for envelope in slack.envelopes)


async def test_a_direct_message_arrives_once(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Nobody is mentioned where nobody else reads."""
    async with connected(slack, client) as heard:
        await slack.dm(f"<@{slack.bot_user}> hello", user="U0BOB")
        await wait_until(lambda: not slack.unacked() and heard.bodies, description="the message")
        await slack.open_home("U0BOB")
        await wait_until(lambda: len(heard.bodies) == 2, description="the home")
    assert heard.events() == [("message", ""), ("app_home_opened", "")]
    assert heard.bodies[0]["event"]["channel_type"] == "im"
    assert heard.bodies[1]["event"]["channel"] == heard.bodies[0]["event"]["channel"] == "D0BOB"


async def test_posts_and_edits_are_logged_in_order(slack: SlackDouble, client: AsyncWebClient) -> None:
    """What a person saw, version by version, in a thread."""
    ts = await slack.mention("C0GENERAL", "count")
    posted = await client.chat_postMessage(channel="C0GENERAL", thread_ts=ts, text="…", metadata=META)
    for text in ("one", "one **two**"):
        button = {"type": "button", "action_id": "stop", "value": "7", "text": {"type": "plain_text", "text": "Stop"}}
        blocks: Blocks = [{"type": "markdown", "text": text}, {"type": "actions", "elements": [button]}]
        await client.chat_update(channel="C0GENERAL", ts=posted["ts"], text="short & sweet", blocks=blocks)
    [reply] = slack.replies("C0GENERAL", ts)
    assert reply.shown == ["…", "one", "one **two**"]
    assert reply.markdown == reply.text == "one **two**"
    assert reply.fallback == "short & sweet"
    assert reply.buttons == [Button("stop", "Stop", "7")]
    assert not reply.edited, 'edits through blocks show no "(edited)"'
    assert reply.now.metadata == META, "metadata stays when it is not given"
    assert [version.at for version in reply.versions] == sorted(version.at for version in reply.versions)
    await client.chat_update(channel="C0GENERAL", ts=posted["ts"], text="1 &lt; 2")
    assert (reply.text, reply.buttons, bool(reply.edited)) == ("1 < 2", [], True)
    assert [call.method for call in slack.calls] == ["chat.postMessage", *["chat.update"] * 3]
    assert not slack.refused


META = {"event_type": "parley", "event_payload": {"turn": "1"}}


async def test_what_is_too_much_is_refused(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Each with the error that Slack names, and without a trace in the message."""
    slack.tiers = False
    mine = (await client.chat_postMessage(channel="C0GENERAL", text="hello"))["ts"]
    hers = await slack.say("C0GENERAL", "hi")

    def update(**changed: Any) -> Awaitable[Any]:
        return client.chat_update(**({"channel": "C0GENERAL", "ts": mine, "text": "x"} | changed))

    def post(**changed: Any) -> Awaitable[Any]:
        return client.chat_postMessage(**({"channel": "C0GENERAL", "text": "x"} | changed))

    def section(size: int) -> dict[str, Any]:
        return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * size}}

    def actions(**changed: Any) -> Blocks:
        button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "A"}} | changed
        return [{"type": "actions", "elements": [button]}]

    error = refusal
    assert await error(update(text="x" * 4_001)) == "msg_too_long"
    assert await error(update(ts=hers)) == "cant_update_message"
    assert await error(update(ts="1.000001")) == "message_not_found"
    assert await error(update(blocks=[{"type": "markdown", "text": "x" * 6_001}] * 2)) == "msg_blocks_too_long"
    assert await error(update(text="x" * 2_000, blocks=[{"type": "markdown", "text": "x" * 11_500}])) == (
        "msg_blocks_too_long"
    )
    assert await error(update(blocks=[section(3_001)])) == "invalid_blocks"
    assert await error(update(blocks=[{"type": "markdown", "text": ""}])) == "invalid_blocks"
    assert await error(update(blocks=[{"type": "divider"}] * 51)) == "invalid_blocks"
    assert await error(update(blocks=actions(value="x" * 2_001))) == "invalid_blocks"
    assert await error(update(blocks=actions(action_id="x" * 256))) == "invalid_blocks"
    assert await error(update(blocks="[{")) == "invalid_blocks_format"
    assert await error(update(markdown_text="x")) == "markdown_text_conflict"
    assert await error(client.api_call("chat.postMessage", json={"channel": "C0GENERAL"})) == "no_text"
    assert await error(post(channel="C0NOWHERE")) == "channel_not_found"
    assert await error(post(thread_ts="1.000001")) == "thread_not_found"
    slack.kick("C0RANDOM")
    assert await error(post(channel="C0RANDOM")) == "not_in_channel"
    slack.archive("C0GENERAL")
    assert await error(post()) == "is_archived"
    assert await error(client.api_call("chat.shout")) == "unknown_method"
    assert [message.shown for message in slack.messages("C0GENERAL")] == [["hello"], ["hi"]]
    assert len(slack.refused) == 18


async def test_tokens_and_scopes_are_checked(slack: SlackDouble, client: AsyncWebClient) -> None:
    """And the scopes stand in a header of every answer."""
    answer = await client.auth_test()
    assert answer.headers["x-oauth-scopes"].split(",") == slack.scopes
    assert (answer["user_id"], answer["bot_id"], answer["team_id"]) == (slack.bot_user, slack.bot_id, slack.team)
    stranger = AsyncWebClient(token="xoxb-other", base_url=slack.url)
    assert await refusal(stranger.auth_test()) == "invalid_auth"
    assert await refusal(AsyncWebClient(base_url=slack.url).auth_test()) == "not_authed"
    assert await refusal(client.apps_connections_open(app_token=slack.bot_token)) == "not_allowed_token_type"
    slack.scopes.remove("chat:write")
    with pytest.raises(SlackApiError) as raised:
        await client.chat_postMessage(channel="C0GENERAL", text="x")
    assert raised.value.response["error"] == "missing_scope"
    assert raised.value.response["needed"] == "chat:write"


async def test_tiers_answer_429_and_when_to_come_back(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Fifty edits a minute and no more, for all messages together; a few posts at once in a channel."""
    ts = (await client.chat_postMessage(channel="C0GENERAL", text="0"))["ts"]
    async with aiohttp.ClientSession() as session:  # slack_sdk opens a connection for every call
        quick = AsyncWebClient(token=slack.bot_token, base_url=slack.url, session=session)
        for number in range(50):
            await quick.chat_update(channel="C0GENERAL", ts=ts, text=str(number))
    with pytest.raises(SlackApiError) as raised:
        await client.chat_update(channel="C0GENERAL", ts=ts, text="one too many")
    response = raised.value.response
    assert (response.status_code, response["error"]) == (429, "ratelimited")
    assert 55 <= int(response.headers["Retry-After"]) <= 60
    assert slack.messages("C0GENERAL")[0].text == "49"
    for _ in range(2):
        await client.chat_postMessage(channel="C0GENERAL", text="again")
    assert await refusal(client.chat_postMessage(channel="C0GENERAL", text="again")) == "ratelimited"
    await client.chat_postMessage(channel="C0RANDOM", text="elsewhere")
    assert [call.method for call in slack.refused] == ["chat.update", "chat.postMessage"]


async def test_unkindness_on_demand(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Slow, refused, broken, cut off and silent; and afterwards as before."""
    ts = (await client.chat_postMessage(channel="C0GENERAL", text="0"))["ts"]

    def update(text: str, **with_client: Any) -> Awaitable[Any]:
        one = AsyncWebClient(token=slack.bot_token, base_url=slack.url, **with_client) if with_client else client
        return one.chat_update(channel="C0GENERAL", ts=ts, text=text)

    slack.slow("chat.update", 0.05, times=1)
    await update("slow")
    [slow] = slack.calls_of("chat.update")
    assert (slow.finished_at or 0) - slow.at >= 0.05
    slack.rate_limit("chat.update", retry_after=2)
    slack.fail("chat.update", "token_revoked")
    slack.break_("chat.update", 502)
    with pytest.raises(SlackApiError) as raised:
        await update("no")
    assert (raised.value.response.status_code, raised.value.response.headers["Retry-After"]) == (429, "2")
    assert await refusal(update("no")) == "token_revoked"
    with pytest.raises(SlackApiError) as raised:
        await update("no")
    assert raised.value.response.status_code == 502
    slack.cut("chat.update", applied=True)
    with pytest.raises(aiohttp.ClientError):
        await update("applied", retry_handlers=[])
    slack.hang("chat.update")
    before = len(slack.calls_of("chat.update"))
    unanswered = asyncio.ensure_future(update("no"))
    await wait_until(lambda: len(slack.calls_of("chat.update")) > before, description="a call that hangs")
    unanswered.cancel()
    await update("kind")
    assert slack.messages("C0GENERAL")[0].shown == ["0", "slow", "applied", "kind"]
    assert slack.calls_of("chat.update")[-2].finished_at is None, "it hangs"


async def test_what_is_not_acknowledged_comes_again(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Three more times, as the same event in another envelope; what came late is noted all the same."""
    slack.ack_deadline, slack.retry_delays = 0.03, (0.0, 0.01, 0.01)
    async with connected(slack, client) as heard:
        heard.deaf = True
        await slack.dm("hello")
        await wait_until(lambda: len(slack.envelopes) == 4 and slack.envelopes[3].sent_at, description="three retries")
        assert len({envelope.id for envelope in slack.envelopes}) == 4
        assert len({envelope.payload["event_id"] for envelope in slack.envelopes}) == 1
        assert [envelope.attempt for envelope in slack.envelopes] == [0, 1, 2, 3]
        await wait_until(lambda: len(heard.retries) == 4, description="all of them to arrive")
        assert heard.retries == [["0"], ["1"], ["2"], ["3"]]
        assert len(slack.unacked()) == 4
        heard.deaf = False
        [again] = await slack.resend(slack.messages("D0ADA")[0].ts)
        await wait_until(lambda: again.acked_at, description="the acknowledgement")
        assert (again.attempt, again.payload["event_id"]) == (1, slack.envelopes[0].payload["event_id"])


@pytest.mark.parametrize("how", ["drop_sockets", "refresh_sockets", "deafen_sockets"])
async def test_a_client_connects_anew_and_held_events_arrive(
    slack: SlackDouble, client: AsyncWebClient, how: str
) -> None:
    """Whether the connection was cut, was asked to go, or only looked alive."""
    slack.ack_deadline, slack.retry_delays = 0.05, (0.05,) * 20
    async with connected(slack, client, ping=0.1) as heard:
        await getattr(slack, how)()
        await slack.dm("are you there?")
        await wait_until(lambda: heard.bodies, description="the event on a new connection")
        await wait_until(lambda: slack.sockets == 1, description="one connection")
    assert len(slack.calls_of("apps.connections.open")) >= 2


async def test_each_event_goes_to_one_of_the_sockets(slack: SlackDouble, client: AsyncWebClient) -> None:
    """In turn: Slack does not copy events to every connection of an app."""
    async with connected(slack, client) as one, connected(slack, client) as other:
        assert slack.sockets == 2
        for number in range(4):
            await slack.dm(str(number))
        await wait_until(lambda: len(one.bodies) + len(other.bodies) == 4, description="four events")
    assert len(one.bodies) == len(other.bodies) == 2


async def test_an_address_is_good_for_one_of_ten_connections(slack: SlackDouble, client: AsyncWebClient) -> None:
    """A used one is forbidden, and the eleventh connection is sent away."""
    sockets = []
    async with aiohttp.ClientSession() as session:
        for number in range(1, 12):
            url = (await client.apps_connections_open(app_token=slack.app_token))["url"]
            sockets.append(await session.ws_connect(url))
            first = await sockets[-1].receive_json()
            assert first.get("num_connections") == (number if number <= 10 else None)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url)
        assert (first["type"], first["reason"], slack.sockets) == ("disconnect", "too_many_websockets", 10)


async def test_a_press_of_a_button_arrives(slack: SlackDouble, client: AsyncWebClient) -> None:
    """With the message it stands under, and an address to answer to."""
    pair = {key: {"text": {"type": "plain_text", "text": key}, "value": key[:3]} for key in FEEDBACK}
    blocks: Blocks = [
        {"type": "markdown", "text": "hello"},
        {"type": "context_actions", "elements": [{"type": "feedback_buttons", "action_id": "rate", **pair}]},
    ]
    root = await slack.mention("C0GENERAL", "hi")
    await client.chat_postMessage(channel="C0GENERAL", thread_ts=root, text="hello", blocks=blocks)
    [reply] = slack.replies("C0GENERAL", root)
    async with connected(slack, client) as heard:
        pressed = await slack.press(reply, "rate", user="U0BOB", value="neg")
        await slack.command("/parley", "help")
        await wait_until(lambda: pressed.acked_at and len(heard.bodies) >= 4, description="the press")
    [body] = [body for body in heard.bodies if body.get("type") == "block_actions"]
    assert (body["user"]["id"], body["actions"][0]["value"]) == ("U0BOB", "neg")
    assert body["container"] == {
        "type": "message",
        "message_ts": reply.ts,
        "channel_id": "C0GENERAL",
        "is_ephemeral": False,
        "thread_ts": root,
    }
    assert body["message"]["blocks"][0]["text"] == "hello"
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            async with session.post(body["response_url"], json={"text": "thank you"}) as answer:
                assert answer.status == 200
        async with session.post(body["response_url"], json={"text": "thank you"}) as answer:
            assert answer.status == 404
    assert (slack.ephemerals[0].user, slack.ephemerals[0].text, len(slack.ephemerals)) == ("U0BOB", "thank you", 5)


FEEDBACK = ("positive_button", "negative_button")


async def test_a_deleted_message_is_not_found(slack: SlackDouble, client: AsyncWebClient) -> None:
    """A reply goes without a trace; a root under which replies hang leaves a tombstone."""
    async with connected(slack, client) as heard:
        root = await slack.say("C0GENERAL", "hi")
        ts = (await client.chat_postMessage(channel="C0GENERAL", thread_ts=root, text="hello"))["ts"]
        await slack.delete("C0GENERAL", root)
        await slack.delete("C0GENERAL", ts)
        assert await refusal(client.chat_update(channel="C0GENERAL", ts=ts, text="more")) == "message_not_found"
        await wait_until(lambda: len(slack.envelopes) == 4 and not slack.unacked(), description="four events")
    # Bolt hides from an app its own post, and the deletion of its own message by somebody else.
    assert heard.events() == [("message", ""), ("message", "message_changed")]
    tombstone = heard.bodies[1]["event"]
    assert tombstone["message"]["subtype"] == "tombstone"
    assert tombstone["previous_message"]["text"] == "hi"
    assert slack.envelopes[3].event["subtype"] == "message_deleted"
    [reply] = slack.replies("C0GENERAL", root)
    assert (reply.deleted, reply.shown) == (True, ["hello"])


async def test_an_edited_mention_is_told_again(slack: SlackDouble, client: AsyncWebClient) -> None:
    """As a change, and as another mention with `edited` in it."""
    async with connected(slack, client) as heard:
        ts = await slack.mention("C0GENERAL", "helo")
        await slack.edit("C0GENERAL", ts, f"<@{slack.bot_user}> hello")
        await wait_until(lambda: len(heard.bodies) == 4, description="four events")
    _, first, changed, second = (body["event"] for body in heard.bodies)
    assert changed["previous_message"]["text"] == "<@U0PARLEY> helo"
    assert (second["type"], second["ts"], second["text"]) == ("app_mention", ts, "<@U0PARLEY> hello")
    assert "edited" in second
    assert "edited" not in first


async def test_other_apps_write_and_change_what_they_wrote(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Without a user, and without a mark of the edit; a preview that Slack adds is told as a change, and stays."""
    async with connected(slack, client) as heard:
        alert = await slack.app_says("C0GENERAL", "db-7 is full", attachments=[{"text": "97%"}])
        await slack.app_edits("C0GENERAL", alert, "db-7 is fine", attachments=[{"text": "12%"}])
        await slack.preview("C0GENERAL", alert)
        await wait_until(lambda: len(heard.bodies) == 3)
    said, changed, previewed = sorted((body["event"] for body in heard.bodies), key=lambda event: event["event_ts"])
    assert (said["bot_id"], said["subtype"], "user" in said) == ("B0ALERT", "bot_message", False)
    assert changed["previous_message"]["attachments"] == [{"text": "97%"}]
    assert (changed["message"]["attachments"], "edited" in changed["message"]) == ([{"text": "12%"}], False)
    assert previewed["message"]["text"] == "db-7 is fine"
    assert len(previewed["message"]["attachments"]) == 2
    read = await client.conversations_history(channel="C0GENERAL")
    assert read["messages"][0]["attachments"] == previewed["message"]["attachments"]


async def test_names_of_groups_and_channels_are_told(slack: SlackDouble, client: AsyncWebClient) -> None:
    """To an app with the scope; attachments are not told with a mention."""
    assert (await client.usergroups_list())["usergroups"][0]["handle"] == "support"
    assert (await client.conversations_info(channel="C0RANDOM"))["channel"]["name"] == "random"
    slack.scopes.remove("usergroups:read")
    assert await refusal(client.usergroups_list()) == "missing_scope"
    ts = await slack.mention("C0GENERAL", "this", attachments=[{"is_share": True, "text": "that"}])
    told = {payload["event"]["type"]: payload["event"] for payload in slack.events[ts]}
    assert "attachments" in told["message"]
    assert "attachments" not in told["app_mention"]


async def test_pings_and_previews_are_noticed(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Only what is not escaped rings, once per message; a preview is fetched unless both kinds are off."""
    slack.tiers = False
    quiet: dict[str, Any] = {"channel": "C0GENERAL", "unfurl_links": False, "unfurl_media": False}
    await client.chat_postMessage(**quiet, text="&lt;!channel&gt; @here https://parley.example")
    assert not slack.pings
    assert not slack.unfurls
    posted = await client.chat_postMessage(**quiet, text="<!here> hello")
    blocks = [{"type": "markdown", "text": "`<@U0BOB>` and <!subteam^S1|us>"}]
    for _ in range(2):
        await client.chat_update(channel="C0GENERAL", ts=posted["ts"], text="x", blocks=blocks)
    await client.chat_postMessage(channel="C0RANDOM", text="@channel https://parley.example", link_names=True)
    assert [ping.token for ping in slack.pings] == ["<!here>", "<@U0BOB>", "<!subteam^S1|us>", "@channel"]
    assert [unfurl.url for unfurl in slack.unfurls] == ["https://parley.example"]


async def test_conversations_are_read_in_pages(slack: SlackDouble, client: AsyncWebClient) -> None:
    """A thread from its root on, a channel from its end."""
    root = await slack.say("C0GENERAL", "root")
    for number in range(3):
        await slack.say("C0GENERAL", f"reply {number}", user="U0BOB", thread=root)
    await slack.say("C0GENERAL", "later")
    pages = await client.conversations_replies(channel="C0GENERAL", ts=root, limit=3)
    thread = [[message["text"] for message in page["messages"]] async for page in pages]
    assert thread == [["root", "reply 0", "reply 1"], ["reply 2"]]
    history = await client.conversations_history(channel="C0GENERAL")
    assert [message["text"] for message in history["messages"]] == ["later", "root"]
    assert history["messages"][1]["reply_count"] == 3
    last = slack.messages("C0GENERAL")[-1].ts
    one = await client.conversations_history(channel="C0GENERAL", latest=last, inclusive=True, limit=1)
    assert [message["ts"] for message in one["messages"]] == [last]
    assert (await client.users_info(user="U0ADA"))["user"]["profile"]["display_name"] == "Ada"
    assert (await client.conversations_open(users=["U0ADA"]))["channel"]["id"] == "D0ADA"


async def test_a_shared_channel_says_so(slack: SlackDouble, client: AsyncWebClient) -> None:
    """In the envelope of every event, and when asked."""
    slack.add_channel("C0SHARED", "with-acme", external=True)
    async with connected(slack, client) as heard:
        await slack.say("C0SHARED", "hi")
        await slack.say("C0GENERAL", "hi")
        await slack.invite("C0RANDOM")
        await wait_until(lambda: len(heard.bodies) == 3, description="three events")
    assert [body["is_ext_shared_channel"] for body in heard.bodies] == [True, False, False]
    assert (await client.conversations_info(channel="C0SHARED"))["channel"]["is_ext_shared"] is True
    assert heard.bodies[2]["event"]["inviter"] == "U0ADA"


async def test_what_else_an_app_may_do(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Whisper, say that it works, react and fill its home."""
    ts = await slack.mention("C0GENERAL", "hi")
    await client.chat_postEphemeral(channel="C0GENERAL", user="U0ADA", thread_ts=ts, text="only you")
    await client.agents_sessions_setStatus(channel_id="C0GENERAL", thread_ts=ts, status="processing")
    await client.assistant_threads_setStatus(channel_id="C0GENERAL", thread_ts=ts, status="is thinking")
    await client.reactions_add(channel="C0GENERAL", timestamp=ts, name="eyes")
    await client.views_publish(user_id="U0ADA", view={"type": "home", "blocks": []})
    assert [(note.user, note.text, note.thread_ts) for note in slack.ephemerals] == [("U0ADA", "only you", ts)]
    assert [status.status for status in slack.statuses] == ["processing", "is thinking"]
    assert slack.messages("C0GENERAL")[0].reactions == [("eyes", slack.bot_user)]
    assert slack.homes["U0ADA"]["type"] == "home"
    slack.agent_view = False
    session = client.agents_sessions_setStatus(channel_id="C0GENERAL", thread_ts=ts, status="active")
    assert await refusal(session) == "not_authorized"


async def test_flags_say_what_the_app_hears(slack: SlackDouble, client: AsyncWebClient) -> None:
    """Mentions alone where it did not subscribe to more, and never where it is not a member."""
    slack.channel_messages = slack.own_messages = False
    await slack.mention("C0GENERAL", "hi")
    await slack.say("C0GENERAL", "hi")
    await client.chat_postMessage(channel="D0ADA", text="hi")
    slack.kick("C0RANDOM")
    await slack.mention("C0RANDOM", "hi")
    assert [envelope.event["type"] for envelope in slack.envelopes] == ["app_mention", "channel_left"]
    assert slack.envelopes[0].sent_at is None, "it is held while nobody is connected"


async def test_the_page_shows_what_was_said(slack: SlackDouble, client: AsyncWebClient) -> None:
    """And nothing of it is taken for HTML."""
    ts = await slack.mention("C0GENERAL", "<b>bold?</b>")
    blocks = [{"type": "markdown", "text": "# Yes\n- **so** bold\n```python\nx = '<b>'"}]
    await client.chat_postMessage(channel="C0GENERAL", thread_ts=ts, text="Yes", blocks=blocks)
    async with aiohttp.ClientSession() as session:
        async with session.get(slack.base) as page:
            assert "<main>" in await page.text()
        async with session.get(f"{slack.base}live", params={"channel": "C0GENERAL"}) as part:
            shown = await part.text()
    assert "&lt;b&gt;bold?&lt;/b&gt;" in shown
    assert "<h4>Yes</h4><ul><li><b>so</b> bold</li></ul><pre>x = &#x27;&lt;b&gt;&#x27;</pre>" in shown


def test_markdown_is_rendered_simply() -> None:
    """What a growing answer is made of."""
    assert markdown("a\nb\n\n1. x\n2. `<y>`") == "<p>a<br>b</p><ol><li>x</li><li><code>&lt;y&gt;</code></li></ol>"
    assert markdown("```\ncode\n```\n*so* it is") == "<pre>code</pre><p><em>so</em> it is</p>"


@pytest.mark.parametrize(
    ("plain", "sent"),
    [
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("<@U0BOB> see <https://a.example|this> in <#C0GENERAL|general>",) * 2,
        ("<!here> <b>", "<!here> &lt;b&gt;"),
    ],
)
def test_what_people_type_is_escaped(plain: str, sent: str) -> None:
    """But the entities that their client writes are not."""
    assert escape(plain) == sent


async def test_a_double_ends_at_once() -> None:
    """Whatever still hangs."""
    started = time.monotonic()
    async with SlackDouble() as other:
        other.hang("auth.test")
        # By itself the client tries once more, after a second.
        hasty = AsyncWebClient(token=other.bot_token, base_url=other.url, retry_handlers=[])
        call = asyncio.ensure_future(hasty.auth_test())
        await wait_until(lambda: other.calls, description="the call")
    with pytest.raises(aiohttp.ClientError):
        await call
    assert time.monotonic() - started < 10
