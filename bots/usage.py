"""Help texts in words for people: no Python types."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    """A command whose help does not call a flag ``<bool>``, nor a name ``<str>``."""

    def get_params(self, ctx: Any) -> Any:
        """See typer."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """The same for a group."""

    def get_params(self, ctx: Any) -> Any:
        """See typer."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if isinstance(parameter, TyperArgument) or (isinstance(parameter, TyperOption) and parameter.is_flag):
            parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    return parameters
