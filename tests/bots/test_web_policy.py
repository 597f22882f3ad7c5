"""Who can do what on the page, by the channel that they are in."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bots.web.chat import ChatDesk
from bots.web.people import PRIVATE, Visitor, venue_of
from core.settings import load_settings


def desk(**settings: Any) -> ChatDesk:
    """What people do on a page with these settings; nothing is asked of Redis here."""
    nothing = cast("Any", None)
    return ChatDesk(nothing, nothing, nothing, nothing, load_settings(_env_file=None, **settings))


@pytest.mark.parametrize("action", ["forget", "settings"])
def test_only_admins_can_where_that_is_set(action: Any) -> None:
    """In channels; in the one that is theirs alone everybody can."""
    limited = desk(forget_by="admins", settings_by="admins", admins="p-ada", contact="#help-desk")
    ada, bob = Visitor("p-ada", "ada", given=True), Visitor("p-bob", "bob", given=True)
    assert limited.refusal(action, bob, "general").endswith("Ask #help-desk.")
    assert limited.refusal(action, bob, PRIVATE) == limited.refusal(action, ada, "general") == ""
    assert desk().refusal(action, bob, "general") == ""


def test_a_channel_is_shared_and_ones_own_is_not() -> None:
    """Whatever it is called."""
    ada = Visitor("p-ada", "ada")
    assert venue_of(ada.key("general"), "").shared
    assert venue_of(ada.key("@me too"), "").shared
    assert not venue_of(ada.key(PRIVATE), "").shared
