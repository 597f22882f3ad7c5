"""Markdown that is still being written: healed at any prefix, split into messages, with links that don't lie."""

from core.markdown.fences import fence_lines
from core.markdown.healing import heal
from core.markdown.links import certain_code_spans, is_honest_link, safe_links
from core.markdown.splitting import Splitter, split

__all__ = ["Splitter", "certain_code_spans", "fence_lines", "heal", "is_honest_link", "safe_links", "split"]
