"""Markdown that is still being written: healed at any prefix, split into messages, with links that don't lie."""

from core.markdown.fences import fence_lines
from core.markdown.healing import Splitter, heal
from core.markdown.links import certain_code, leads_where_it_says, plain_links
from core.markdown.splitting import split

__all__ = ["Splitter", "certain_code", "fence_lines", "heal", "leads_where_it_says", "plain_links", "split"]
