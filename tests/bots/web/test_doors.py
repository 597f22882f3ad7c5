"""What every request must get past before it reaches the page."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bots.web.attempts import FREE_TRIES, LONGEST_QUEUE_SECONDS, MOST_ADDRESSES, LoginAttempts
from bots.web.server import RequestGuard, leads_elsewhere

HOST = "parley.example"


async def log_in(request: Request) -> Response:
    """As Gradio does it: 400 for a wrong password."""
    return JSONResponse({}, 200 if (await request.body()) == b"right" else 400)


async def log_out(request: Request) -> Response:
    """As Gradio does it, with what it was asked for."""
    return RedirectResponse("/", 302, headers={"x-query": str(request.query_params)})


async def redirect(request: Request) -> Response:
    """To wherever one wants."""
    return Response(status_code=302, headers={"location": request.query_params["to"]})


def visitor() -> httpx.AsyncClient:
    """Somebody at the door of a page with a password."""
    routes = [Route("/login", log_in, methods=["POST"]), Route("/logout", log_out), Route("/redirect", redirect)]
    guard = RequestGuard(Starlette(routes=routes), local=False, cookie=True, password=True)
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=f"http://{HOST}")


@pytest.mark.parametrize(
    "location",
    [
        *("https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example"),
        *("https:evil.example", "javascript:alert(1)", "data:text/html,x", "https://parley.example@evil.example/"),
        *("http://parley.example.evil.example", "  //evil.example", "HTTPS://EVIL.example", "http:///evil.example"),
    ],
)
async def test_no_redirect_leads_to_another_site(location: str) -> None:
    """However it is written: it leads to the page instead."""
    assert leads_elsewhere(location, [HOST])
    async with visitor() as somebody:
        answer = await somebody.get("/redirect", params={"to": location})
        assert (answer.status_code, answer.headers["location"]) == (302, "/")


@pytest.mark.parametrize("location", ["/", "/c/general?x=1#y", "../up", f"http://{HOST}/logout", f"https://{HOST}", ""])
def test_redirects_within_the_page_are_followed(location: str) -> None:
    """Relative ones, and those with its own name."""
    assert not leads_elsewhere(location, [HOST])


async def test_logging_out_takes_the_forms_own_token() -> None:
    """A link shows the form; only its button logs out, and only this browser."""
    async with visitor() as somebody:
        assert (await somebody.post("/logout", data={"token": "guessed"})).status_code == 403
        form = await somebody.get("/logout")
        assert form.status_code == 200
        [token] = re.findall(r'name="token" value="([^"]+)"', form.text)
        assert (await somebody.post("/logout", data={"token": "guessed"})).status_code == 403
        assert (await somebody.post("/logout", content="x" * 5_000)).status_code == 403
        out = await somebody.post("/logout", data={"token": token})
        assert (out.status_code, out.headers["location"], out.headers["x-query"]) == (302, "/", "all_session=false")
        abroad = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert (await somebody.post("/logout", data={"token": token}, headers=abroad)).status_code == 403


async def test_a_wrong_password_is_logged_and_the_right_one_still_lets_in(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the name, the password or the address in the log."""
    async with visitor() as somebody:
        for _ in range(3):
            assert (await somebody.post("/login", content="wrong")).status_code == 400
        assert (await somebody.post("/login", content="right")).status_code == 200
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "page login failed" in line]
    assert len(lines) == 3
    assert not re.search("wrong|127", "".join(lines))


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


async def test_each_further_wrong_password_takes_longer() -> None:
    """At once for people who mistype; for whoever guesses, ten seconds a try in the end."""
    clock = Clock()
    attempts = LoginAttempts(clock, clock.sleep)
    waited = []
    for _ in range(FREE_TRIES + 8):
        began = clock.now
        assert await attempts.admit("a")
        waited.append(clock.now - began)
    assert waited == [0.0] * FREE_TRIES + [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    began = clock.now
    assert await attempts.admit("b")
    attempts.succeeded("a")
    assert await attempts.admit("a")
    assert clock.now == began


async def test_guesses_sent_all_at_once_are_refused() -> None:
    """They wait behind each other, and no more of them than half a minute holds."""
    clock = Clock()

    async def stand_still(seconds: float) -> None:
        assert seconds <= LONGEST_QUEUE_SECONDS

    attempts = LoginAttempts(clock, stand_still)
    admitted = [await attempts.admit("a") for _ in range(1_000)]
    assert sum(admitted) == FREE_TRIES + 6
    for number in range(2 * MOST_ADDRESSES):
        assert await attempts.admit(str(number))
    assert len(attempts._addresses) == MOST_ADDRESSES
