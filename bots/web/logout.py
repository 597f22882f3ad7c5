"""Logging out of the page: a form with a token, so that no link and no other site logs anybody out."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_COOKIE = "parley_logout"  # noqa: S105 - its name
LONGEST_FORM = 1_000
FORM = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Log out of Parley</title>
<meta name="color-scheme" content="light dark">
<body style="font: 1rem system-ui; display: grid; place-content: center; min-height: 90vh; text-align: center">
<p>Log out of Parley in this browser?</p>
<form method="post"><input type="hidden" name="token" value="{token}">
<button style="font: inherit">Log out</button></form>
<p><a href="./">Back to Parley</a></p>
"""


async def log_out(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer ``/logout``: GET shows the form, POST with its token ends this browser's login and no other."""
    if scope["method"] != "POST":
        token = secrets.token_urlsafe(24)
        page = HTMLResponse(FORM.format(token=token), headers={"Cache-Control": "no-store"})
        page.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
        await page(scope, receive, send)
        return
    form = b""
    async for part in Request(scope, receive).stream():
        form += part
        if len(form) > LONGEST_FORM:
            break
    [token] = parse_qs(form[:LONGEST_FORM].decode("latin-1")).get("token", [""])[:1]
    expected = cookie_parser(Headers(scope=scope).get("cookie", "")).get(TOKEN_COOKIE, "")
    if not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        await PlainTextResponse("That form is out of date. Open /logout again.", 403)(scope, receive, send)
        return
    # Gradio's own way out answers GET, and ends the logins of all who share the name unless told otherwise.
    await app({**scope, "method": "GET", "query_string": b"all_session=false"}, receive, send)
