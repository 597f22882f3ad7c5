"""One text goes on: ``parley complete``, as a process, with either kind of server and with none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.doubles.openai import OpenAIDouble
from tests.doubles.tgi import TgiDouble
from tests.journeys.process import command


async def parley(tmp_path: Path, *arguments: str, said: str = "", **settings: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``parley complete``."""
    ran = await command(tmp_path, "complete", *arguments, said=said, **settings)
    return ran.code, ran.out, ran.err


async def test_the_prompt_is_sent_as_it_is_and_the_answer_printed(tmp_path: Path) -> None:
    """To TGI, with what was asked for."""
    async with TgiDouble() as tgi:
        tgi.answer = " there was a fork."
        arguments = ("Once upon a time", "--max-new-tokens", "50", "--temperature", "0", "--stop", "END", "--seed", "3")
        code, out, err = await parley(tmp_path, *arguments, MODEL_URL=tgi.url)
    assert (code, out, err) == (0, "there was a fork.\n", "")
    (seen,) = tgi.requests
    assert seen.inputs == "Once upon a time"
    sent = seen.parameters
    assert (sent["max_new_tokens"], sent["do_sample"], sent["stop"], sent["seed"]) == (50, False, ["END"], 3)


async def test_it_reads_stdin_and_speaks_json(tmp_path: Path) -> None:
    """For programs; the other API is asked on the route that puts no template around it."""
    async with OpenAIDouble() as server:
        server.answer = " one two three"
        code, out, _ = await parley(
            tmp_path, "-", "--json", "--max-new-tokens", "2", said="count:\n", MODEL_URL=server.api
        )
    assert code == 0
    assert json.loads(out) == {"text": "one two", "finish_reason": "length", "prompt_tokens": 1, "completion_tokens": 2}
    assert server.requests[0].path == "/v1/completions"
    assert server.requests[0].inputs == "count:\n"


async def test_what_came_before_an_error_is_printed(tmp_path: Path) -> None:
    """The error is on stderr, with what to do; the exit code says that it is not whole."""
    async with TgiDouble() as tgi:
        tgi.answer = " one two three"
        tgi.fault("drop", after=2)
        code, out, err = await parley(tmp_path, "count:", MODEL_URL=tgi.url)
    assert (code, out) == (1, "one two\n")
    assert "dropped the connection" in err
    assert "Traceback" not in err


async def test_with_no_model_the_demo_answers(tmp_path: Path) -> None:
    """So that it can be tried with nothing at hand."""
    code, out, _ = await parley(tmp_path, "hello")
    assert code == 0
    assert "no model behind me" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "no text to complete"),
        (("-",), "no text to complete"),
        (("x", "--model", "huge"), "No model 'huge'"),
        (("x", "--temperature", "9"), "less than or equal to 2"),
    ],
)
async def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """In a line, with exit code 2."""
    code, out, err = await parley(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert said in err
