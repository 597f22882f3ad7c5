"""What a server's prefix cache keeps from one question to the next."""

from __future__ import annotations

import pytest

from tests.core.prompts.prefix import cached, prompts


@pytest.mark.parametrize("family", ["chat", "chatml", "gemma", "falcon"])
@pytest.mark.parametrize("room", [0, 10])
def test_a_prompt_begins_as_the_one_before_it(family: str, room: int) -> None:
    """Up to the last question, or to the talk of the room before it, while people talk; and but for the few cuts."""
    before, cuts = "", 0
    for text, stays, cut in prompts(family, room=room):
        cuts += cut
        assert cut or text.startswith(before)
        before = text[:stays]
    assert 1 <= cuts <= 8


@pytest.mark.parametrize(("room", "share"), [(0, 0.9), (20, 0.8)])
def test_most_of_a_prompt_was_read_before(room: int, share: float) -> None:
    """Over a hundred questions, cuts included."""
    assert cached("chat", room=room) > share
