"""A page that shows the double's channels as a person would see them, and grows as they do."""

from __future__ import annotations

import re
import time
from html import escape
from itertools import groupby

from tests.doubles.slack_records import Channel, Posted, unescape
from tests.doubles.slack_workspace import Workspace

COLOURS = {"U0PARLEY": "#4a154b", "U0ADA": "#e01e5a", "U0BOB": "#2e8b7d", "U0CLEO": "#d99a1c"}

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Slack double</title>
<style>
  body { margin: 0 auto; max-width: 860px; padding: 0 24px 32px; background: #fff; color: #1d1c1d;
         font: 15px/1.47 "Lato", "Helvetica Neue", Helvetica, Arial, sans-serif; }
  h2 { font-size: 18px; margin: 0 -24px 8px; padding: 14px 24px 10px; border-bottom: 1px solid #e3e3e3;
       position: sticky; top: 0; background: #fff; }
  h2 i { color: #616061; font-style: normal; font-weight: 400; margin-right: 3px; }
  .message { display: flex; gap: 10px; padding: 7px 0; }
  .reply { margin-left: 46px; padding-left: 14px; border-left: 2px solid #eceaec; }
  .avatar { flex: none; width: 36px; height: 36px; border-radius: 8px; color: #fff; font-weight: 700;
            display: grid; place-items: center; font-size: 16px; }
  .reply .avatar { width: 28px; height: 28px; font-size: 13px; }
  .body { min-width: 0; flex: 1; }
  .name { font-weight: 800; }
  .app { background: #e8e8e8; color: #616061; border-radius: 3px; font-size: 10px; font-weight: 700;
         padding: 1px 4px; margin-left: 5px; vertical-align: 1px; }
  time, .edited, .context { color: #616061; font-size: 12px; }
  time { margin-left: 6px; }
  .gone { color: #616061; font-style: italic; }
  p, ul, ol, pre, h4, blockquote { margin: 2px 0 6px; }
  h4 { font-size: 15px; }
  ul, ol { padding-left: 26px; }
  pre { background: #f8f8f8; border: 1px solid #dddddd; border-radius: 4px; padding: 8px; white-space: pre-wrap;
        font: 12px/1.5 Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
  code { background: #f8f8f8; border: 1px solid #dddddd; border-radius: 3px; padding: 1px 3px; color: #c01343;
         font: 12px Menlo, Consolas, "DejaVu Sans Mono", monospace; }
  blockquote { border-left: 4px solid #dddddd; padding-left: 12px; margin-left: 0; }
  .mention { background: #e8f5fa; color: #1264a3; border-radius: 3px; padding: 0 2px; }
  .button { display: inline-block; border: 1px solid #bbbabb; border-radius: 4px; padding: 4px 11px; font-weight: 700;
            font-size: 13px; margin: 4px 8px 0 0; }
</style>
<main></main>
<script>
  const main = document.querySelector("main");
  let shown = "";
  async function refresh() {
    try {
      const html = await (await fetch("/live" + location.search)).text();
      if (html !== shown) {
        const low = innerHeight + scrollY >= document.body.scrollHeight - 80;
        main.innerHTML = shown = html;
        if (low) scrollTo(0, document.body.scrollHeight);
      }
    } catch (error) { /* the double went away; it may come back */ }
    setTimeout(refresh, 100);
  }
  refresh();
</script>
</html>
"""


def live(slack: Workspace, only: str = "") -> str:
    """The channels in which something was said, or the one that was asked for."""
    channels = [channel for channel in slack.channels.values() if channel.messages and only in {"", channel.id}]
    return "".join(_channel(slack, channel) for channel in channels) or "<p>Nothing was said yet.</p>"


def _channel(slack: Workspace, channel: Channel) -> str:
    title = escape(slack.users[channel.user].display_name if channel.user else channel.name)
    shown = [f"<h2><i>{'@' if channel.user else '#'}</i>{title}</h2>"]
    for message in channel.messages.values():
        if not message.thread_ts and (message.tombstone or not message.deleted):
            shown += [_message(slack, message), *(_message(slack, reply) for reply in channel.replies(message.ts))]
    return "".join(shown)


def _message(slack: Workspace, message: Posted) -> str:
    user = slack.users[message.user]
    said = _content(slack, message)
    if message.edited and not message.deleted:
        said += '<span class="edited">(edited)</span>'
    app = '<span class="app">APP</span>' if user.is_bot else ""
    at = time.strftime("%H:%M", time.localtime(float(message.ts)))
    colour, letter = COLOURS.get(user.id, "#5b6b7b"), escape(user.display_name[:1])
    avatar = f'<div class="avatar" style="background:{colour}">{letter}</div>'
    head = f'<span class="name">{escape(user.display_name)}</span>{app}<time>{at}</time>'
    kind = "message reply" if message.thread_ts else "message"
    return f'<div class="{kind}">{avatar}<div class="body"><div>{head}</div>{said}</div></div>'


def _content(slack: Workspace, message: Posted) -> str:
    if message.deleted:
        return '<p class="gone">This message was deleted.</p>'
    if not message.now.blocks:
        return f"<p>{_mrkdwn(slack, message.fallback)}</p>"
    parts = []
    for block in message.now.blocks:
        if block["type"] == "markdown":
            parts.append(markdown(block["text"]))
        elif block["type"] == "section":
            parts.append(f"<p>{_mrkdwn(slack, block.get('text', {}).get('text', ''))}</p>")
        elif block["type"] == "context":
            noted = " ".join(_mrkdwn(slack, item.get("text", "")) for item in block["elements"])
            parts.append(f'<div class="context">{noted}</div>')
    row = "".join(f'<span class="button">{escape(button.label)}</span>' for button in message.buttons)
    return "".join(parts) + (f"<div>{row}</div>" if row else "")


def _mrkdwn(slack: Workspace, text: str) -> str:
    """Slack's own small dialect, whose text comes escaped."""

    def entity(found: re.Match[str]) -> str:
        target, _, label = found[1].partition("|")
        user = slack.users.get(target[1:])
        name = label or (f"@{user.display_name}" if user else target.replace("!", "@"))
        return f'<span class="mention">{escape(name)}</span>'

    parts = re.split(r"(<[^<>]+>)", text)
    shown = [re.sub(r"<([^<>]+)>", entity, part) if part[:1] == "<" else escape(unescape(part)) for part in parts]
    html = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", "".join(shown))
    html = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", html)
    return re.sub(r"(?<!\w)_([^_\n]+)_(?!\w)", r"<em>\1</em>", html).replace("\n", "<br>")


def markdown(source: str) -> str:
    """A markdown block: paragraphs, headings, lists, quotes and fences; a fence that is still open is a fence."""
    shown = []
    for number, part in enumerate(re.split(r"^ *```", source, flags=re.MULTILINE)):
        if number % 2:
            shown.append(f"<pre>{escape(part.partition(chr(10))[2].rstrip())}</pre>")
        else:
            shown += [_lines(kind, list(lines)) for kind, lines in groupby(part.split("\n"), _kind)]
    return "".join(shown)


MARKS = {"ul": r"^\s*[-*+] ", "ol": r"^\s*\d+[.)] ", "h4": r"^#{1,6} ", "blockquote": r"^> ?"}


def _kind(line: str) -> str:
    return next((kind for kind, mark in MARKS.items() if re.match(mark, line)), "p" if line.strip() else "")


def _lines(kind: str, lines: list[str]) -> str:
    if not kind:
        return ""
    inner = [_inline(re.sub(MARKS.get(kind, "^"), "", line)) for line in lines]
    if kind in {"ul", "ol"}:
        return f"<{kind}>{''.join(f'<li>{item}</li>' for item in inner)}</{kind}>"
    return f"<{kind}>{'<br>'.join(inner)}</{kind}>"


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"<code>{escape(part[1:-1])}</code>" if part[:1] == "`" else _styled(part) for part in parts)


def _styled(text: str) -> str:
    html = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    html = re.sub(r"(?<![*\w])\*([^*\s][^*]*)\*(?!\w)", r"<em>\1</em>", html)
    return re.sub(r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<span class="mention" title="\2">\1</span>', html)
