"""A refused request is sent again as the server wants it, or the operator is told which setting to look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import GenerationError, ModelRefused, ModelUnauthorized, ModelUnavailable, PromptTooLong
from core.model_types import Done, GenerationRequest, PromptWindow
from core.models.backends.openai import OpenAIBackend
from core.prompts.families import ChatTemplate
from core.types import Message, Role
from tests.contracts.asking import KEY, ask, check, collect
from tests.doubles.openai import OpenAIDouble

Refusal = tuple[int, Any]
YES = " Yes."


def wrong(message: str, param: str | None = None, code: Any = None, kind: str = "invalid_request_error") -> Any:
    """A refusal's body as OpenAI has it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def has(name: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a request has a field."""
    return lambda request: name in request


def has_system(request: dict[str, Any]) -> bool:
    """Whether a request has a message in the system's role."""
    return any(message["role"] == "system" for message in request["messages"])


def request_with_system() -> GenerationRequest:
    """A question under a system prompt."""
    return GenerationRequest(
        ChatTemplate().render(PromptWindow("Be kind.", (Message(Role.USER, "hi"),))), 500, 0.7, 0.9, seed=7
    )


async def answered(server: OpenAIDouble, request: GenerationRequest | None = None, model: str = "m") -> dict[str, Any]:
    """The request that was answered in the end; the second question needs no other words."""
    server.answer = YES
    backend = OpenAIBackend(server.api, model=model)
    for _ in range(2):
        before = len(server.refused)
        text, end = await collect(backend, request or request_with_system())
        assert (text, isinstance(end, Done)) == (YES, True), end
    await backend.aclose()
    assert len(server.refused) == before
    return server.requests[-1].parameters


LIMIT: list[Refusal] = [
    (
        400,
        wrong(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
    ),
    (400, wrong("Unrecognized request argument supplied: max_tokens")),
    (
        422,
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}
            ]
        },
    ),
    (400, {"object": "error", "message": "max_tokens is deprecated, use max_completion_tokens", "code": 400}),
    (400, wrong("litellm.UnsupportedParamsError: azure does not support parameters: ['max_tokens'], for model=o3")),
    (400, {"error": "unknown field `max_tokens`"}),
    (
        500,
        wrong("AzureException BadRequestError - Unsupported parameter: 'max_tokens' is not supported with this model."),
    ),
]


@pytest.mark.parametrize("refusal", LIMIT, ids=lambda refusal: json.dumps(refusal[1])[:60])
async def test_the_limit_has_its_newer_name_where_a_server_wants_that(refusal: Refusal) -> None:
    """CommandReply once, in whatever words."""
    async with OpenAIDouble() as server:
        server.refusals = [(has("max_tokens"), *refusal)]
        sent = await answered(server)
    assert sent["max_completion_tokens"] == 500
    assert "max_tokens" not in sent


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 500. This model supports at most 64 completion tokens.",
        "`max_tokens` must be less than or equal to `64`, the maximum value for `max_tokens` is less than the context",
        "max_tokens: 500 > 64, which is the maximum allowed number of output tokens",
        "Invalid max_tokens value, the valid range of max_tokens is between 1 and 64",
        "Input validation error: `max_new_tokens` must be <= 64. Given: 500",
    ],
)
async def test_the_limit_is_what_a_server_allows(said: str) -> None:
    """It names it."""
    async with OpenAIDouble() as server:
        server.refusals = [(lambda request: request["max_tokens"] > 64, 400, wrong(said))]
        assert (await answered(server))["max_tokens"] == 64


LEFT_OUT: list[tuple[str, Refusal]] = [
    (
        "temperature",
        (
            400,
            wrong(
                "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
                "supported.",
                "temperature",
                "unsupported_value",
            ),
        ),
    ),
    (
        "temperature",
        (400, wrong("Unsupported parameter: 'temperature' is not supported with this model.", "temperature")),
    ),
    ("temperature", (400, wrong("temperature is not supported by this model"))),
    ("temperature", (422, {"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]})),
    ("temperature", (400, {"object": "error", "message": "invalid temperature: only 1 is allowed for this model"})),
    ("temperature", (400, wrong("`temperature` may only be set to 1 when thinking is enabled."))),
    ("top_p", (400, wrong("`top_p` cannot be specified for this model."))),
    ("top_p", (400, wrong("Unsupported parameter: 'top_p' is not supported with this model.", "top_p"))),
    ("seed", (400, wrong("property 'seed' is unsupported"))),
    ("seed", (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]})),
    ("stream_options", (400, wrong("Unrecognized request argument supplied: stream_options"))),
    ("stream_options", (422, {"detail": "unknown field: stream_options"})),
]


@pytest.mark.parametrize(("name", "refusal"), LEFT_OUT, ids=lambda one: json.dumps(one)[:60])
async def test_a_field_that_is_refused_is_left_out(name: str, refusal: Refusal) -> None:
    """An answer can do without."""
    async with OpenAIDouble() as server:
        server.refusals = [(has(name), *refusal)]
        assert name not in await answered(server)


async def test_stop_strings_that_are_refused_are_left_out() -> None:
    """They are cut out here in any case."""
    async with OpenAIDouble() as server:
        said = "Unsupported parameter: 'stop' is not supported with this model."
        server.refusals = [(has("stop"), 400, wrong(said, "stop", "unsupported_parameter"))]
        assert "stop" not in await answered(server, ask("hi", "\nUser:"))


async def test_several_refusals_come_one_after_another() -> None:
    """Each costs one more request, once."""
    async with OpenAIDouble() as server:
        server.refusals = [
            (has("max_tokens"), *LIMIT[0]),
            (has("temperature"), *LEFT_OUT[0][1]),
            (has("top_p"), *LEFT_OUT[7][1]),
            (
                has_system,
                400,
                wrong("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
            ),
        ]
        sent = await answered(server)
        assert len(server.refused) == 4
    assert sent.keys() == {"messages", "model", "max_completion_tokens", "seed", "stream", "stream_options"}
    assert sent["messages"] == [{"role": "user", "content": "Be kind.\n\nhi"}]


SYSTEM: list[Refusal] = [
    (400, wrong("System role not supported")),
    (500, {"error": {"code": 500, "message": "Jinja Exception: System role not supported"}}),
    (400, {"detail": "Unexpected role 'system' after role 'user'"}),
    (400, {"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400}),
    (
        400,
        wrong("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "messages[0].role"),
    ),
    (400, [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}]),
    (400, wrong("role 'system' is not supported on this model")),
    (400, wrong("system messages are not supported by this model")),
    (400, wrong("This model does not support system messages.")),
    (400, wrong("Only user and assistant roles are supported!")),
    (400, wrong("Conversation roles must alternate user/assistant/user/assistant/...")),
    (
        400,
        {
            "object": "error",
            "message": "After the optional system message, conversation roles must alternate",
            "code": 400,
        },
    ),
    (422, {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'"}]}),
    (400, {"errors": [{"loc": ["body", "messages", 1, "role"], "msg": "Input should be 'user' or 'assistant'"}]}),
    (400, wrong("unknown variant `system`, expected `user` or `assistant`")),
    (400, wrong('messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter')),
    (
        400,
        wrong("litellm.BadRequestError: OpenAIException - {'object': 'error', 'message': 'System role not supported'}"),
    ),
    (424, {"error": "Template error: invalid operation: System role not supported", "error_type": "template_error"}),
    (400, wrong("Invalid role: system")),
    (500, {"detail": "The system role is not allowed here."}),
]


@pytest.mark.parametrize("refusal", SYSTEM, ids=lambda refusal: json.dumps(refusal[1])[:80])
async def test_a_system_prompt_goes_with_the_first_words_where_there_is_no_role_for_it(refusal: Refusal) -> None:
    """In several servers' words."""
    async with OpenAIDouble() as server:
        server.refusals = [(has_system, *refusal)]
        sent = await answered(server)
    assert sent["messages"] == [{"role": "user", "content": "Be kind.\n\nhi"}]


async def test_a_refusal_inside_a_stream_is_one() -> None:
    """Some servers answer 200 before they look."""
    async with OpenAIDouble() as server:
        server.answer = YES
        server.body = [b'data: {"error":{"message":"System role not supported","code":400}}\n\n']
        backend = OpenAIBackend(server.api, model="m")

        def then_answer(request: dict[str, Any]) -> bool:
            if not has_system(request):
                server.body = None
            return False

        server.refusals = [(then_answer, 0, "")]
        text, end = await collect(backend, request_with_system())
        await backend.aclose()
    assert (text, isinstance(end, Done)) == (YES, True)


async def test_first_questions_at_the_same_time_are_all_answered() -> None:
    """Each learns for itself how the server has to be asked."""
    async with OpenAIDouble() as server:
        server.answer, server.first_after = YES, 0.05
        server.refusals = [(has_system, *SYSTEM[0]), (has("max_tokens"), *LIMIT[0])]
        backend = OpenAIBackend(server.api, model="m")
        answers = await asyncio.gather(*(collect(backend, request_with_system()) for _ in range(8)))
        await backend.aclose()
    assert [text for text, _ in answers] == [YES] * 8


async def test_what_is_refused_for_good_is_not_asked_for_ever() -> None:
    """A server that refuses whatever is sent is asked a few times."""
    async with OpenAIDouble() as server:
        server.refusals = [(lambda request: True, *LIMIT[0])]
        backend = OpenAIBackend(server.api, model="m")
        _, error = await collect(backend, request_with_system())
        await backend.aclose()
        assert len(server.refused) <= 4
    check(error, ModelRefused, server.api)


# Which model is asked.


@pytest.mark.parametrize(
    ("models", "about", "chosen"),
    [
        (["nomic-embed-text:latest", "qwen3:8b"], {}, "qwen3:8b"),
        (["BAAI/bge-m3", "whisper-large-v3", "llama-3.3-70b"], {}, "llama-3.3-70b"),
        (["a", "b"], {"a": {"type": "embeddings"}, "b": {"type": "llm"}}, "b"),
        (["a", "b"], {"a": {"capabilities": {"completion_chat": False}}}, "b"),
        (["text-embedding-qwen3"], {}, "text-embedding-qwen3"),
    ],
)
async def test_the_first_model_that_can_chat_is_asked(models: list[str], about: Any, chosen: str) -> None:
    """By its name, or by what the server tells of it; one that is alone is asked in any case."""
    async with OpenAIDouble() as server:
        server.models, server.about = models, about
        assert (await answered(server, model=""))["model"] == chosen
        assert not server.refused


NO_CHAT: list[Refusal] = [
    (400, wrong('"all-purpose:latest" does not support chat', kind="api_error")),
    (400, wrong("The model does not support Chat Completions API")),
    (404, wrong("The model `all-purpose:latest` does not exist.", code="model_not_found")),
    (400, wrong("This is not a chat model and thus not supported in the v1/chat/completions endpoint.")),
    (400, {"object": "error", "message": "all-purpose:latest does not have a chat template", "code": 400}),
]


@pytest.mark.parametrize("refusal", NO_CHAT, ids=lambda refusal: json.dumps(refusal[1])[:80])
async def test_a_listed_model_that_cannot_chat_is_passed_over(refusal: Refusal) -> None:
    """Where its name does not say so, it is asked once."""
    async with OpenAIDouble() as server:
        server.models = ["all-purpose:latest", "qwen3:8b"]
        server.refusals = [(lambda request: request["model"] == "all-purpose:latest", *refusal)]
        assert (await answered(server, model=""))["model"] == "qwen3:8b"


async def test_a_server_that_was_started_with_another_model_is_asked_for_that() -> None:
    """It lists another one than before."""
    async with OpenAIDouble() as server:
        server.answer, server.models = YES, ["old"]
        server.refusals = [
            (lambda request: request["model"] not in server.models, 404, wrong("The model `old` does not exist."))
        ]
        backend = OpenAIBackend(server.api)
        assert isinstance((await collect(backend, ask("hi")))[1], Done)
        server.models = ["new"]
        assert isinstance((await collect(backend, ask("hi")))[1], Done)
        await backend.aclose()
    assert [seen.parameters["model"] for seen in server.requests] == ["old", "new"]


ADVICE: list[tuple[str, Refusal]] = [
    ("MODEL_NAME", (404, wrong("The model `m` does not exist.", code="model_not_found"))),
    ("MODEL_NAME", (404, {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError"})),
    ("MODEL_NAME", (404, wrong('model "m" not found, try pulling it first'))),
    ("MODEL_NAME", (400, wrong("Server is pinned to 'qwen3'; this request is for 'm'"))),
    ("MODEL_NAME", (400, wrong("Invalid model: m"))),
    ("MODEL_NAME", (409, {"error": "Server is pinned to qwen3, cannot serve m"})),
    ("MODEL_NAME", (503, wrong("The model m is not loaded", kind="unavailable_error"))),
    ("MODEL_NAME", (400, wrong("m is not a valid model ID"))),
    ("MODEL_NAME", (404, wrong("No endpoints found for m."))),
    ("MODEL_NAME", (400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None})),
    ("MODEL_NAME", (404, wrong("The API deployment for this resource does not exist.", code="DeploymentNotFound"))),
    ("MODEL_NAME", (400, wrong('"m" does not support chat'))),
    ("MODEL_NAME", (404, wrong("No models loaded. Please load a model in the developer page."))),
    ("MODEL_NAME", (422, {"detail": [{"loc": ["body", "model"], "msg": "Unknown model"}]})),
    ("MAX_NEW_TOKENS", (400, wrong("max_tokens must be at least 1 with this model", "max_tokens"))),
    ("TEMPERATURE", (401, wrong("'temperature' does not support 0.7 with this model", "temperature"))),
    ("MODEL_API_KEY", (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}])),
    ("MODEL_API_KEY", (402, wrong("Insufficient Balance"))),
    ("PROMPT_TEMPLATE", (400, wrong("roles must alternate"))),
    ("MODEL_URL", (404, {"detail": "Not Found"})),
    ("MODEL_URL", (405, "")),
]


@pytest.mark.parametrize(("setting", "refusal"), ADVICE, ids=lambda one: json.dumps(one)[:80])
async def test_the_advice_names_the_right_setting_first(setting: str, refusal: Refusal) -> None:
    """And for a wrong model's name, the names that the server lists."""
    async with OpenAIDouble() as server:
        server.models = ["qwen3:8b", "llama"]
        server.refusals = [(lambda request: True, *refusal)]
        backend = OpenAIBackend(server.api, model="m", api_key=KEY)
        _, error = await collect(backend, ask("hi"))
        await backend.aclose()
    assert isinstance(error, GenerationError)
    if refusal[0] != 401:
        named = [
            word for word in error.remedy.replace(".", " ").replace(":", " ").replace(",", " ").split() if "_" in word
        ]
        assert named[0] == setting
    if setting == "MODEL_NAME":
        assert "qwen3:8b, llama" in error.remedy


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ((400, [{"error": {"message": "API key not valid. Please pass a valid API key."}}]), ModelUnauthorized),
        ((400, wrong("the request exceeds the available context size. try increasing it")), PromptTooLong),
        (
            (400, wrong("'max_tokens' is too large: 500. This model's maximum context length is 400 tokens")),
            PromptTooLong,
        ),
        ((400, wrong("Please reduce the length of the messages.", code="context_length_exceeded")), PromptTooLong),
        ((400, wrong("The input token count (99) exceeds the maximum number of tokens allowed (9).")), PromptTooLong),
        ((400, "x" * 500_000), ModelRefused),
        ((400, {"error": {"message": ["not", {"detail": "so"}]}}), ModelRefused),
        ((400, [[[[[[[[[[[["deep"]]]]]]]]]]]]), ModelRefused),
        ((500, "<html>" + "x" * 500_000), ModelUnavailable),
    ],
)
async def test_a_refusal_is_what_it_says(refusal: Refusal, kind: type[GenerationError]) -> None:
    """Whatever its shape and size."""
    async with OpenAIDouble() as server:
        server.refusals = [(lambda request: True, *refusal)]
        backend = OpenAIBackend(server.api, model="m")
        _, error = await collect(backend, ask("hi"))
        await backend.aclose()
    assert len(str(check(error, kind, server.api))) < 500
