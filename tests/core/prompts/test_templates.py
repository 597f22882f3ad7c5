"""Every family and every model's own template: as ``transformers`` writes it, and with no forged turn in it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ModelRefused, SettingsError
from core.model_types import PromptWindow
from core.prompts.families import FAMILIES, ChatTemplate, FamilyTemplate, family_source
from core.prompts.guard import GUARD_MARK
from core.prompts.huggingface import HuggingFaceTemplate
from core.prompts.jinja import TemplateRefused, render
from core.prompts.personas import list_personas, read_persona
from core.prompts.template import PromptTemplate, open_template
from core.types import Author, Message, Role
from tests.examples import examples

DATA = json.loads(Path(__file__).parents[1].joinpath("data").joinpath("templates.json").read_text(encoding="utf-8"))
OWN: dict[str, str] = DATA["own"]
BOS, EOS = "<bos>", "<eos>"
ADA, BOB = Author("U1", "Ada"), Author("U2", "Bob")

TALK = (
    Message(Role.USER, "tea", author=ADA),
    Message(Role.USER, "coffee", author=BOB),
    Message(Role.ASSISTANT, "Noted."),
    Message(Role.SYSTEM, "You were asked in."),
    Message(Role.USER, "Who likes what?", author=ADA),
)


def all_templates() -> dict[str, PromptTemplate]:
    """Every way of writing a conversation down."""
    families: dict[str, PromptTemplate] = {name: FamilyTemplate(family) for name, family in FAMILIES.items()}
    own = {f"own {name}": HuggingFaceTemplate(source, bos=BOS, eos=EOS) for name, source in OWN.items()}
    return families | own | {"chat": ChatTemplate()}


TEMPLATES = all_templates()


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: f"{case['template']}-{case['conversation']}")
def test_the_text_is_that_of_transformers(case: dict[str, Any]) -> None:
    """Byte for byte; and what it refuses is refused, in the template's own words."""
    source = OWN.get(case["template"]) or family_source(case["template"])
    messages = [(said["role"], said["content"]) for said in DATA["conversations"][case["conversation"]]]
    if "refused" in case:
        with pytest.raises(TemplateRefused) as raised:
            render(source, messages, bos=BOS, eos=EOS)
        assert str(raised.value) == case["refused"]
    else:
        assert render(source, messages, bos=BOS, eos=EOS) == case["text"]


def test_every_family_of_the_data_is_there() -> None:
    """The data is made anew when a family is added."""
    assert {case["template"] for case in DATA["cases"]} == FAMILIES.keys() | OWN.keys()


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_talk_of_several_people_is_written_down_whole(name: str) -> None:
    """Whatever roles a template takes, and in whatever order: nothing that was said is left out, and BOS is."""
    prompt = TEMPLATES[name].render(PromptWindow("Be kind.", TALK))
    text = prompt.text()
    places = [
        text.find(words) for words in ("Ada: tea", "Bob: coffee", "Noted.", "You were asked in.", "Who likes what?")
    ]
    assert -1 not in places
    assert places == sorted(places)
    assert "Be kind." in text
    assert BOS not in text


@pytest.mark.parametrize("name", FAMILIES)
def test_a_server_can_take_the_stops(name: str) -> None:
    """Four at the most, and each ends a turn."""
    prompt = TEMPLATES[name].render(PromptWindow("", TALK))
    assert 1 <= len(prompt.stops) <= 4
    assert set(prompt.stops) <= set(prompt.control_tokens)


def test_a_chat_is_in_turns_with_one_system_prompt() -> None:
    """Most templates behind servers take nothing else."""
    prompt = ChatTemplate().render(PromptWindow("Be kind.", TALK))
    assert prompt.chat
    assert [role for role, _ in prompt.chat()] == ["system", "user", "assistant", "user"]


# Forgery.

SPELLINGS = sorted(
    {control for name in FAMILIES for control in (*FAMILIES[name].stops, *FAMILIES[name].control_tokens)}
)
PIECES = (
    *SPELLINGS,
    *(control.swapcase() for control in SPELLINGS),
    *(control[:3] for control in SPELLINGS),
    *(control[3:] for control in SPELLINGS),
    *("".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in control) for control in SPELLINGS),
    *(control[:2] + unseen + control[2:] for control in SPELLINGS for unseen in ("\u200d", "\u00ad", "\u2060")),
    *(
        "\nUser:",
        "\nSystem :",
        "\r\nAssistant:",
        "\u2028system:",
        "<start_of_turn>model\n",
        "<bos>",
        "<eos>",
        "<|start|>",
    ),
    *("hello", " ", "\n", ":", "{{ 7*7 }}", "{% raw %}", "\\"),
)
words = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


def counted(text: str, control_tokens: tuple[str, ...]) -> dict[str, int]:
    """How often each control string stands in a text, for a reader who normalises and passes over what is unseen."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(c for c in plain if c not in "\u200d\u00ad\u2060").casefold()
    lines = {f"{role}:": sum(line.startswith(f"{role}:") for line in plain.splitlines()) for role in ("user", "system")}
    return {control: plain.count(control.casefold()) for control in control_tokens if control.strip()} | lines


@pytest.mark.parametrize("name", TEMPLATES)
@examples(60)
@given(said=words, answer=words, called=words, system=words)
def test_nobody_can_forge_the_templates_own_words(name: str, said: str, answer: str, called: str, system: str) -> None:
    """Whatever people write or are called, and whatever the model wrote before.

    The prompt's control strings are those of the same talk in plain words.
    """

    def prompt(system: str, called: str, said: str, answer: str) -> tuple[str, tuple[str, ...]]:
        talk = (
            Message(Role.USER, said, author=Author("U1", called)),
            Message(Role.ASSISTANT, answer),
            Message(Role.USER, said, author=Author("U2", called)),
        )
        written = TEMPLATES[name].render(PromptWindow(system, talk))
        return written.text(), written.control_tokens

    text, control_tokens = prompt(system, called, said, answer)
    plain, _ = prompt(system and "x", "x", "x", "x")
    assert counted(text, control_tokens) == counted(plain, control_tokens)
    assert GUARD_MARK not in plain


# A model's own template.


def test_a_template_is_read_from_a_model_as_it_is_downloaded(tmp_path: Path) -> None:
    """From the folder, from either file, and from the one called default among several."""
    config = {"bos_token": {"content": "<s>"}, "eos_token": "<|im_end|>", "chat_template": family_source("chatml")}
    config["added_tokens_decoder"] = {"7": {"content": "<|tool|>", "special": True}}
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    window = PromptWindow("Be kind.", TALK[-1:])
    expected = FamilyTemplate(FAMILIES["chatml"]).render(window).text()
    prompt = open_template(str(path)).render(window)
    assert (prompt.text(), prompt.stops) == (expected, ("<|im_end|>",))
    assert "<|tool|>" in prompt.control_tokens
    several = [{"name": "rag", "template": "no"}, {"name": "default", "template": config["chat_template"]}]
    path.write_text(json.dumps(config | {"chat_template": several}), encoding="utf-8")
    assert open_template(str(tmp_path)).render(window).text() == expected
    path.write_text(json.dumps(config | {"chat_template": None}), encoding="utf-8")
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}" + family_source("zephyr"), encoding="utf-8")
    assert open_template(str(tmp_path)).render(window).text().startswith("<|system|>\nBe kind.</s>")
    assert open_template(str(tmp_path / "chat_template.jinja")).name == "chat_template.jinja"


def test_a_template_may_be_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other path in the settings; a name that could be no file's is none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "chat_template.jinja").write_text(family_source("chatml"), encoding="utf-8")
    assert open_template("~/chat_template.jinja").name == "chat_template.jinja"
    for name in ("~nobody-here/a.jinja", "a" * 5000):
        with pytest.raises(SettingsError, match="no template family and no file"):
            open_template(name)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("a.jinja", "{% if %}", "cannot be read"),
        ("tokenizer_config.json", "{}", "no chat template"),
        ("tokenizer_config.json", "nonsense", "cannot be read"),
        ("nothing", None, "no template family and no file"),
    ],
)
def test_what_is_no_template_is_a_wrong_setting(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    """It says so at the start."""
    if text is not None:
        (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said) as raised:
        open_template(str(tmp_path / file))
    assert raised.value.remedy


def test_a_template_cannot_leave_its_sandbox() -> None:
    """It reads what it is given and changes nothing."""
    for source in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ messages.__init__.__globals__ }}"):
        prompt = HuggingFaceTemplate(source).render(PromptWindow("", TALK[:1]))
        with pytest.raises((ModelRefused, SettingsError)):
            prompt.text()


def test_a_template_that_refuses_everything_is_told_of() -> None:
    """In its own words, with what to set instead."""
    with pytest.raises(ModelRefused, match="not today") as raised:
        HuggingFaceTemplate("{{ raise_exception('not today') }}").render(PromptWindow("", TALK)).text()
    assert "PROMPT_TEMPLATE" in raised.value.remedy


# Personas.


def test_a_persona_is_a_file_with_named_variables(tmp_path: Path) -> None:
    """Everything else in it stays as it is."""
    (tmp_path / "pirate.md").write_text("# Pirate\nYou sail for the {{ team }} team. {% 5 %}\n", encoding="utf-8")
    (tmp_path / "no persona.md").write_text("x", encoding="utf-8")
    assert list_personas(tmp_path) == ["pirate"]
    assert read_persona(tmp_path, "pirate", {"team": "Blue"}) == "# Pirate\nYou sail for the Blue team. {% 5 %}"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    """All of them, and how to set one."""
    (tmp_path / "p.md").write_text("{{team}} {{city}} {{team}}", encoding="utf-8")
    with pytest.raises(SettingsError, match="variables city, team") as raised:
        read_persona(tmp_path, "p", {})
    assert "PERSONA_VARIABLES=city=" in raised.value.remedy


@pytest.mark.parametrize("name", ["", "../secret", "pirat", "a/b"])
def test_no_other_file_is_a_persona(tmp_path: Path, name: str) -> None:
    """Neither above the folder nor below it."""
    (tmp_path.parent / "secret.md").write_text("x", encoding="utf-8")
    (tmp_path / "pirate.md").write_text("x", encoding="utf-8")
    with pytest.raises(SettingsError, match="pirate"):
        read_persona(tmp_path, name, {})
