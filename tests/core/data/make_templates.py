"""Write ``templates.json``: what the real ``transformers`` makes of our templates and of awkward conversations.

Run it in an environment of its own that has transformers and jinja2: ``python tests/core/data/make_templates.py``.
Only the data is needed by the tests.
"""
# ruff: noqa: E501

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
FAMILIES = HERE.parents[2] / "core" / "prompts" / "families"

OWN = {
    # As strict as the oldest ones: no system role, turns only, BOS written out.
    "turns": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "<start_of_turn>{{ message['role'] if message['role'] == 'user' else 'model' }}\n{{ message['content'] | trim }}"
        "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    # Blocks over many lines, loop controls, a namespace, a macro, JSON, what is trained on, and a date by a fixed form.
    "modern": (
        "{%- set ns = namespace(system='') %}\n{%- macro head(role) %}<|start|>{{ role }}<|message|>{% endmacro %}\n"
        "{%- for message in messages %}\n    {%- if message.role == 'system' %}\n        {%- set ns.system = message.content %}\n"
        "        {%- continue %}\n    {%- endif %}\n    {%- if loop.index0 > 20 %}{% break %}{% endif %}\n"
        "    {%- if message.role == 'assistant' %}\n        {{- head('assistant') }}{% generation %}{{ message.content }}"
        "{% endgeneration %}{{ eos_token }}\n    {%- else %}\n        {{- head(message.role) + message.content + '<|end|>' }}\n"
        "    {%- endif %}\n{%- endfor %}\n{{- {'system': ns.system, 'ü': [1, true, none]} | tojson }}\n"
        "{%- if strftime_now is defined and false %}{{ strftime_now('%d') }}{% endif %}\n"
        "{%- if tools %}tools{% endif %}\n{%- if add_generation_prompt %}\n    {{- head('assistant') }}<think>\n{%- endif %}"
    ),
    # White space that trim_blocks and lstrip_blocks decide about.
    "spaces": (
        "{{ bos_token }}\n  {% for message in messages %}\n    {% if message['role'] != 'system' %}\n"
        "[{{ message['role'] }}] {{ message['content'] }}  \n    {% endif %}\n  {% endfor %}\n"
        "{% if add_generation_prompt %}[assistant] {% endif %}\n"
    ),
}

SYSTEM = {"role": "system", "content": "Be kind."}
CONVERSATIONS = {
    "one question": [{"role": "user", "content": "What is a fork?"}],
    "with a system prompt": [SYSTEM, {"role": "user", "content": "Hi"}],
    "several turns": [
        SYSTEM,
        {"role": "user", "content": "Ada: What is a fork?"},
        {"role": "assistant", "content": "A branch."},
        {"role": "user", "content": "Bob: And a spoon?"},
    ],
    "several speakers in a row": [
        {"role": "user", "content": "Ada: tea"},
        {"role": "user", "content": "Bob: coffee"},
    ],
    "assistant first": [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi"}],
    "a remark in the middle": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        SYSTEM,
        {"role": "user", "content": "c"},
    ],
    "braces and quotes": [{"role": "user", "content": "{{ 7*7 }} {% raw %} \"x\" 'y' <b> & \\n \n\n ünï 世界 👩‍👧  "}],
    "empty words": [{"role": "user", "content": ""}],
}


def main() -> None:
    """Render everything and write it down."""
    from jinja2.exceptions import TemplateError
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast  # type: ignore[import-not-found]

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), bos_token="<bos>", eos_token="<eos>"
    )
    templates = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FAMILIES.glob("*.jinja"))} | OWN
    cases = []
    for name, source in templates.items():
        for title, messages in CONVERSATIONS.items():
            case = {"template": name, "conversation": title}
            try:
                text = tokenizer.apply_chat_template(
                    messages, chat_template=source, tokenize=False, add_generation_prompt=True
                )
            except TemplateError as error:
                cases.append(case | {"refused": str(error.message)})
            else:
                cases.append(case | {"text": text})
    data = {"transformers": version("transformers"), "own": OWN, "conversations": CONVERSATIONS, "cases": cases}
    (HERE / "templates.json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
