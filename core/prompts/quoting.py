"""A message in words, with what comes with it: quotes and overheard talk have marks that nobody else can write."""

from __future__ import annotations

from core.prompts.guard import guard
from core.types import Message, Quote, QuoteKind

_HEADINGS = {
    QuoteKind.FORWARD: "forwarded message",
    QuoteKind.REPLY: "in reply to",
    QuoteKind.ROOT: "the message that this thread hangs on",
    QuoteKind.CARD: "shown with this message",
    QuoteKind.TABLE: "table pasted with this message",
    QuoteKind.UNREADABLE: "attached, and not readable to you",
}


def words(message: Message, control_tokens: tuple[str, ...] = ()) -> str:
    """What a message says to the model, guarded: its quotes, and then its text."""
    quotes = [_quoted(quote, control_tokens) for quote in message.quotes]
    return "\n".join([*quotes, guard(message.text, control_tokens)] if message.text else quotes)


def _quoted(quote: Quote, control_tokens: tuple[str, ...]) -> str:
    by = f", written by {guard(quote.by, control_tokens)}" if quote.by else ""
    origin = f", from {guard(quote.origin, control_tokens)}" if quote.origin else ""
    lines = "".join(f"\n> {line}" for line in guard(quote.text, control_tokens).splitlines())
    return f"[{_HEADINGS[quote.kind]}{by}{origin}]{lines}"
