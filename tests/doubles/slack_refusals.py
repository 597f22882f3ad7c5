"""Everything that makes the double of Slack say no: limits of content, rate limits, and unkindness on demand."""

from __future__ import annotations

import json
import math
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from tests.doubles.slack_records import Json

# https://docs.slack.dev/reference/methods/chat.update: "The text field cannot exceed 4,000 characters."
UPDATE_TEXT = 4_000
# chat.postMessage cuts instead, and only warns: "Messages containing more than 40,000 characters" are truncated.
POST_TEXT = 40_000
# The `markdown_text` argument of both, and all markdown blocks of one payload together.
MARKDOWN = 12_000
# Not documented; measured in slackapi/bolt-js#2509: a payload whose blocks are each legal is refused as a whole
# from about 13,200 characters on. What is counted is not known; the double counts the JSON.
PAYLOAD = 13_200
# https://docs.slack.dev/reference/block-kit: sizes of blocks, composition objects and elements.
BLOCKS, FIELDS, ACTIONS, CONTEXT, CONTEXT_ACTIONS = 50, 10, 25, 10, 5
TEXT_OBJECT, FIELD, HEADER, LABEL, VALUE, IDENTIFIER, ADDRESS = 3_000, 2_000, 150, 75, 2_000, 255, 3_000
KINDS = "actions alert auth_provider call card carousel container context context_actions divider file header image"
KINDS += " input markdown plan rich_text section table task_card video"

# Reported by people: one table in the markdown blocks of a message. What stands in code is none.
TABLE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)+\|?[ \t]*$", re.MULTILINE)
CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# What `link_names` and `parse=full` make of plain text.
LINKED = re.compile(r"(?<![\w.])@(channel|here|everyone|group)\b", re.IGNORECASE)

# https://docs.slack.dev/apis/web-api/rate-limits: floors per method, app and workspace, in calls per minute.
# Slack tolerates some bursts above them; the double does not, because nothing says how many.
TIER_2, TIER_3, TIER_4 = 20, 50, 100
# auth.test: "special", hundreds per minute.
GENEROUS = 600
# chat.postMessage: about one message per second per channel, "short bursts" allowed; three are a short burst.
POST_BURST = 3


class Refused(Exception):
    """Slack says no: ``{"ok": false, "error": …}``, with whatever stands beside it."""

    def __init__(self, error: str, *, status: int = 200, retry_after: int | None = None, **beside: Any) -> None:
        super().__init__(error)
        self.error, self.status, self.retry_after = error, status, retry_after
        self.body = {"ok": False, "error": error, **beside}


def refuse(error: str, *details: str) -> NoReturn:
    """Say no, with the details that Slack puts beside such an error."""
    beside: Json = {"response_metadata": {"messages": [f"[ERROR] {detail}" for detail in details]}} if details else {}
    if details and error == "invalid_blocks":
        beside["errors"] = list(details)
    raise Refused(error, **beside)


def content(args: Json) -> tuple[str | None, list[Json] | None]:
    """The ``text`` and ``blocks`` of a call, if Slack accepts them; None where an argument is absent."""
    text, blocks, markdown = args.get("text"), args.get("blocks"), args.get("markdown_text")
    if markdown is not None:
        if text or blocks:
            refuse("markdown_text_conflict")
        if len(markdown) > MARKDOWN:
            refuse("msg_too_long")
        text, blocks = text or "", [{"type": "markdown", "text": markdown}]
    if blocks is None:
        return text, None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        refuse("invalid_blocks_format")
    _check_blocks(blocks)
    if sum(len(TABLE.findall(CODE.sub("", block["text"]))) for block in blocks if block["type"] == "markdown") > 1:
        refuse("invalid_blocks", "only_one_table_allowed")
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MARKDOWN:
        refuse("msg_blocks_too_long")
    if len(json.dumps({"text": text or "", "blocks": blocks}, ensure_ascii=False)) > PAYLOAD:
        refuse("msg_blocks_too_long")
    return text, blocks


def _bad(detail: str, where: str) -> NoReturn:
    refuse("invalid_blocks", f"{detail} [json-pointer:{where}]")


def _check_blocks(blocks: list[Json]) -> None:
    if len(blocks) > BLOCKS:
        _bad(f"no more than {BLOCKS} items allowed", "/blocks")
    named = [block["block_id"] for block in blocks if block.get("block_id")]
    if len(set(named)) < len(named):
        _bad("`block_id` must be unique", "/blocks")
    for number, block in enumerate(blocks):
        where = f"/blocks/{number}"
        kind = block.get("type")
        if kind not in KINDS.split():
            _bad(f"unsupported type: {kind}", f"{where}/type")
        _check_size(block.get("block_id", "-"), IDENTIFIER, f"{where}/block_id")
        if kind == "markdown":
            # Blank text is taken for missing text: the pessimistic reading of "text is required".
            _check_size(str(block.get("text", "")).strip(), MARKDOWN * 10, f"{where}/text")
        elif kind == "section":
            _check_section(block, where)
        elif kind == "header":
            _check_text(block.get("text"), HEADER, f"{where}/text", plain=True)
        elif kind == "context":
            for item, at in _items(block, "elements", CONTEXT, where):
                if item.get("type") != "image":
                    _check_text(item, TEXT_OBJECT, at)
        elif kind in {"actions", "context_actions"}:
            most = ACTIONS if kind == "actions" else CONTEXT_ACTIONS
            used = [_check_element(item, at) for item, at in _items(block, "elements", most, where)]
            if len(set(used)) < len(used):
                _bad("`action_id` must be unique in its block", where)


def _check_section(block: Json, where: str) -> None:
    if "text" not in block and "fields" not in block:
        _bad("must define either `text` or `fields`", where)
    if "text" in block:
        _check_text(block["text"], TEXT_OBJECT, f"{where}/text")
    if "fields" in block:
        for item, at in _items(block, "fields", FIELDS, where):
            _check_text(item, FIELD, at)
    if "accessory" in block:
        _check_element(block["accessory"], f"{where}/accessory")


def _items(block: Json, key: str, most: int, where: str) -> Iterable[tuple[Json, str]]:
    items = block.get(key)
    if not isinstance(items, list) or not 1 <= len(items) <= most:
        _bad(f"between 1 and {most} items required", f"{where}/{key}")
    return [(item, f"{where}/{key}/{number}") for number, item in enumerate(items)]


def _check_element(element: Json, where: str) -> str:
    # An element without an action_id gets one from Slack: no two of them are the same.
    action_id = element.get("action_id") or where
    _check_size(action_id, IDENTIFIER, f"{where}/action_id")
    pair = [(element[key], f"{where}/{key}") for key in ("positive_button", "negative_button") if key in element]
    for button, at in pair or [(element, where)]:
        if "text" in button:
            _check_text(button["text"], LABEL, f"{at}/text", plain=True)
        _check_size(button.get("value", "-"), VALUE, f"{at}/value")
        _check_size(button.get("url", "-"), ADDRESS, f"{at}/url")
    return str(action_id)


def _check_text(node: Any, most: int, where: str, *, plain: bool = False) -> None:
    if not isinstance(node, dict) or node.get("type") not in ({"plain_text"} if plain else {"plain_text", "mrkdwn"}):
        _bad("must be a text object", where)
    _check_size(node.get("text"), most, f"{where}/text")


def _check_size(text: Any, most: int, where: str) -> None:
    if not isinstance(text, str) or not text:
        _bad("must be more than 0 characters", where)
    if len(text) > most:
        _bad(f"must be less than {most + 1} characters", where)


class Pace:
    """Rate limits of one workspace. A refused call is not counted: it changes nothing."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[float]] = defaultdict(deque)
        self._posts: dict[str, tuple[float, float]] = {}

    def call(self, method: str, per_minute: int) -> None:
        """Count one call within a sliding minute, or say when there is room again."""
        now, calls = time.monotonic(), self._calls[method]
        while calls and calls[0] <= now - 60:
            calls.popleft()
        if len(calls) >= per_minute:
            self._refuse(calls[0] + 60 - now)
        calls.append(now)

    def post(self, channel: str) -> None:
        """Take one of a channel's tokens, of which there is one more every second."""
        now = time.monotonic()
        tokens, since = self._posts.get(channel, (float(POST_BURST), now))
        tokens = min(POST_BURST, tokens + now - since)
        if tokens < 1:
            self._refuse(1 - tokens)
        self._posts[channel] = (tokens - 1, now)

    @staticmethod
    def _refuse(seconds: float) -> NoReturn:
        # Slack's Retry-After is whole seconds, and never 0.
        raise Refused("ratelimited", status=429, retry_after=max(1, math.ceil(seconds)))


@dataclass(slots=True)
class Fault:
    """What is about to go wrong with a method, and how many more times (None: always)."""

    method: str
    times: int | None
    delay: float = 0.0
    error: str = ""
    status: int = 200
    retry_after: int | None = None
    silent: bool = False
    cut: bool = False
    applied: bool = False
    channel: str = ""
    holding: str = ""

    def concerns(self, method: str, args: Json) -> bool:
        """Whether it is about a call."""
        where = not self.channel or self.channel == args.get("channel")
        return self.method in {method, "*"} and where and self.holding in json.dumps(args, ensure_ascii=False)


class Unkindness:
    """Faults on demand. ``method`` may be ``"*"``; ``applied`` says that the call took effect, but no answer came."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.gateway = "text/html"
        """What a gateway in trouble says that its page is; some say text/plain."""

    def slow(self, method: str, seconds: float, times: int | None = None) -> None:
        """Let calls take effect, and be answered, only after some seconds."""
        self.faults.append(Fault(method, times, delay=seconds))

    def rate_limit(self, method: str, retry_after: int = 1, times: int | None = 1) -> None:
        """Answer 429, whatever the tiers say."""
        self.faults.append(Fault(method, times, error="ratelimited", status=429, retry_after=retry_after))

    def fail(self, method: str, error: str, times: int | None = 1, *, channel: str = "", holding: str = "") -> None:
        """Answer ``ok: false``: to every call, or to those about a channel, or whose arguments hold a text."""
        self.faults.append(Fault(method, times, error=error, channel=channel, holding=holding))

    def break_(self, method: str, status: int = 503, times: int | None = 1, *, applied: bool = False) -> None:
        """Answer as a gateway in front of Slack does when it is in trouble: a status, and a page of HTML."""
        self.faults.append(Fault(method, times, status=status, applied=applied))

    def cut(self, method: str, times: int | None = 1, *, applied: bool = False) -> None:
        """Close the connection instead of answering."""
        self.faults.append(Fault(method, times, cut=True, applied=applied))

    def hang(self, method: str, times: int | None = 1, *, applied: bool = False) -> None:
        """Never answer."""
        self.faults.append(Fault(method, times, silent=True, applied=applied))

    def be_kind(self, method: str = "") -> None:
        """Forget the faults of a method, or all."""
        self.faults = [fault for fault in self.faults if method and fault.method != method]

    def take_faults(self, method: str, args: Json) -> tuple[float, Fault | None]:
        """The delay of one call, and what else goes wrong with it; the oldest fault first."""
        delay, found = 0.0, None
        for fault in list(self.faults):
            if not fault.concerns(method, args) or (found and not fault.delay):
                continue
            if fault.delay:
                delay += fault.delay
            else:
                found = fault
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
        return delay, found
