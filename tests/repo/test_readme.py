"""What the README says can be done, can be done."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.process import from_nothing, run_command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def run(tmp_path: Path, *arguments: str, said: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """``parley`` in an empty folder."""
    ran = run_command(tmp_path, *arguments, said=said, **settings)
    return subprocess.CompletedProcess(arguments, ran.code, ran.out, ran.err)


DISCORD = ("invite", "sync")
"""Run by tests/bots/discord/test_setup.py."""
QUEUE = ("ls", "show TURN", "cancel TURN", "requeue TURN", "dead ls", "dead replay TURN", "dead drop TURN")
"""Run by tests/bots/commands/test_queue.py; more than one process by tests/journeys/test_durable.py."""

MEMORY = ("ls", "show NAME", "export FILE", "forget --user ID")
"""Run by tests/bots/commands/test_memory.py, with `parley backup` and `restore`."""
COMPOSE = {"", " --profile llama", " --profile vllm", " --profile workers"}
"""What tests/repo/test_deploy.py reads; there is no engine here to run it."""


def test_every_command_in_the_readme_is_run_here() -> None:
    """A new one needs a test."""
    written = set(re.findall(r"`((?:parley|make|python -m)[^`…]*)`", README))
    written |= {line.split("#")[0].strip() for line in re.findall(r"^(make .*)$", README, re.MULTILINE)}
    assert {command.replace("\\", "") for command in written} == {
        "make run",
        "make test",
        "make test-all",
        "make check",
        "make bench",
        "make chaos",
        "make journey",
        "make setup",
        "make pictures",
        "parley",
        "parley chat",
        'parley complete "Once upon a time" --max-new-tokens 50',
        "parley config",
        "parley run",
        "parley run web",
        "parley run --no-browser",
        "parley --install-completion",
        "parley-assistant",
        "parley doctor",
        "parley slack manifest",
        *(f"parley discord {word}" for word in DISCORD),
        "python -m tests.doubles.slack",
        *(f"parley queue {words}" for words in QUEUE),
        *(f"parley memory {words}" for words in MEMORY),
        "parley backup FILE",
        "parley restore FILE",
        "parley prompt show NAME",
    }
    lines = set(re.findall(r"^(parley \S.*?) +#", README, re.MULTILINE))
    assert lines == {"parley run slack --no-worker", "parley run worker"}
    composed = re.findall(r"^docker compose(.*?) up", README, re.MULTILINE)
    assert set(composed) == COMPOSE


def test_every_command_of_other_documents_is_run_by_a_test() -> None:
    """The same for whoever contributes, or looks after security."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md"))
    written = set(re.findall(r"`((?:parley|make) [^`]*)`", text))
    assert written == {
        "make check",
        "make test",
        'make test ARGS="tests/core -k memory"',
        "make test-all",
        "make resolved-test",
        "make pins",
        "make audit",
        "make journey",
        "make journey > docs/journey.txt",
        "parley doctor",
        "parley config",
        "parley run",
        "parley memory forget --user",
        "parley backup FILE",
    }
    doubles = set(re.findall(r"^python -m (tests\.doubles\.\w+)", text, re.MULTILINE))
    assert doubles == {f"tests.doubles.{name}" for name in ("slack", "discord", "tgi")}


@pytest.mark.parametrize("double", ["discord", "tgi", "openai"])
def test_the_other_doubles_run_by_hand(double: str) -> None:
    """They say what to set."""
    command = [sys.executable, "-m", f"tests.doubles.{double}", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert re.match(r"[A-Z_]+=", process.stdout.readline())
        process.terminate()


def test_make_knows_its_targets() -> None:
    """Without doing it: the tests run in what `make test` set up."""
    targets = ["run", "test", "test-all", "check", "bench", "chaos", "setup", "audit", "pins", "pictures"]
    subprocess.run(["make", "--dry-run", "--always-make", *targets], cwd=ROOT, capture_output=True, check=True)


def test_parley_is_where_the_readme_says() -> None:
    """In the virtual environment, as a command and as a module."""
    parley = Path(sys.executable).with_name("parley")
    result = subprocess.run([parley, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"parley \d+\.\d+\.\d+\n", result.stdout)


def test_with_nothing_configured_and_piped_input_run_is_a_plain_chat(tmp_path: Path) -> None:
    """And it remembers from one line to the next."""
    with from_nothing():
        result = run(tmp_path, "run", said="My name is Ada.\nWhat is my name?\n")
    assert result.returncode == 0, result.stderr
    assert '"My name is Ada."' in result.stdout.partition('You wrote: "What is my name?"')[2]
    assert "\x1b" not in result.stdout


def test_run_in_the_dark_says_that_no_platform_is_set_up(tmp_path: Path) -> None:
    """A service without its tokens is not told that all is well; a chat with nothing said is."""
    dark = run(tmp_path, "run", said="\n")
    assert (dark.returncode, dark.stdout) == (2, "")
    assert dark.stderr == (
        "Nothing to do: no platform is set up (SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or DISCORD_TOKEN), and the input "
        "was empty. `parley doctor` says what is missing; `parley run web` shows the page.\n"
    )
    chat = run(tmp_path, "chat", said="\n")
    assert (chat.returncode, chat.stdout, chat.stderr) == (0, "", "")


def test_mistakes_in_the_env_file_are_said_at_the_start(tmp_path: Path) -> None:
    """On stderr, by every command that would otherwise pass over them; what the environment overrules is none."""
    (tmp_path / ".env").write_text("\n= canary\nTEMPRATURE=canary\nLOG_LEVEL=info\n", encoding="utf-8")
    for command in ("run", "chat"):
        result = run(tmp_path, command, said="hello\n", LOG_LEVEL="error")
        assert result.returncode == 0
        assert result.stderr.splitlines() == [
            ".env, line 2: this is not a setting. Write it as NAME=value, or remove it.",
            ".env, line 3: no setting 'TEMPRATURE'. Did you mean TEMPERATURE?",
        ]


def test_echo_into_chat(tmp_path: Path) -> None:
    """One line in, one answer out."""
    assert "demo" in run(tmp_path, "chat", said="hello\n").stdout


def test_doctor_says_what_the_readme_shows(tmp_path: Path) -> None:
    """Line by line, but for paths and times."""
    shown = re.search(r"\$ parley doctor\n(.*?)```", README, re.DOTALL)
    assert shown
    said = run(tmp_path, "doctor", WEB_PORT="0").stdout  # somebody may have the usual one

    def gist(text: str) -> list[str]:
        return [
            re.sub(
                r"[\d.,]+ ([kMG]B|ms|at once)|[^ ]*redis-server|\S+/(redis|\.parley|data)$|[\d.]+:"
                r"|(?<=no \.env )(here|in \S+)(?=,)|(?<=at 127\.0\.0\.1:)\d+",
                "·",
                line.rstrip(),
            )
            for line in text.splitlines()
        ]

    assert gist(said) == gist(shown[1])


def test_the_manifest_is_json(tmp_path: Path) -> None:
    """With and without what is not needed."""
    assert json.loads(run(tmp_path, "slack", "manifest").stdout)["settings"]["socket_mode_enabled"] is True
    minimal = run(tmp_path, "slack", "manifest", "--minimal")
    assert "channels:history" not in json.loads(minimal.stdout)["oauth_config"]["scopes"]["bot"]
    assert "channels:history" in minimal.stderr


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """For every command."""
    for command in (["run"], ["chat"]):
        result = run(tmp_path, *command, TEMPERATURE="hot")
        assert result.returncode == 2
        assert result.stderr.strip().splitlines() == ["TEMPERATURE: should be a number. Example: TEMPERATURE=0.7"]


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    """With what it looks like."""
    result = run(tmp_path, "run", "slack", SLACK_BOT_TOKEN="xoxb-1")
    assert (result.returncode, "SLACK_APP_TOKEN" in result.stderr) == (2, True)
    result = run(tmp_path, "run", "teams")
    assert (result.returncode, "teams" in result.stderr) == (2, True)


@pytest.mark.parametrize("document", [*DOCUMENTS, *PAGES], ids=lambda path: path.name)
def test_links_and_files_named_in_documents_exist(document: Path) -> None:
    """A document that points nowhere is not read again."""
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text):
        assert (document.parent / target).exists(), target
    if document.name != "CHANGELOG.md":  # it tells of files as they were called
        for target in re.findall(r"`((?:bots|core|tests|docs|deploy)/[\w./]*)`", text):
            assert (ROOT / target).exists(), target


def test_the_double_of_slack_runs_by_hand() -> None:
    """It says what to set, until it is told to stop."""
    command = [sys.executable, "-m", "tests.doubles.slack", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as double:
        assert double.stdout
        assert double.stdout.readline().startswith("SLACK_API_URL=http://127.0.0.1:")
        double.terminate()


def test_a_port_that_is_taken_is_one_line() -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tests.doubles.slack", "--port", str(port)]
        double = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert double.returncode == 2
    assert double.stderr == f"port {port} is taken; choose another with --port\n"
