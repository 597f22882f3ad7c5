"""How Parley is deployed: a container, several of them, a service of systemd. Nothing here needs an engine.

What an engine would do is done by hand: the image's own ENV, ENTRYPOINT, CMD and HEALTHCHECK are read from the
Dockerfile and run as processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dotenv import dotenv_values

from bots.doctor.envfile import setting_names
from bots.platforms import all_settings
from core.prompts.families import family_of
from tests.doubles.slack import SlackDouble
from tests.journeys.process import command, run_parley, run_with
from tests.needs import COMPOSE, SYSTEMD, SYSTEMD_READER
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "parley.service").read_text(encoding="utf-8")
LOGIN = "WEB_USER=team\nWEB_PASSWORD=canary\n"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
GRACE = all_settings().model_fields["grace"].default


@pytest.fixture
def compose(tmp_path: Path) -> Any:
    """What compose makes of docker-compose.yml beside a fresh .env, with some profiles."""
    import yaml

    command = COMPOSE.command()
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")

    def read(*profiles: str, **settings: str) -> Any:
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **settings}
        ran = subprocess.run(
            [*command, *chosen, "config"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return yaml.safe_load(ran.stdout)["services"] if ran.returncode == 0 else ran.stderr

    return read


def gigabytes(amount: str | int) -> float:
    """``1g``, or bytes, in GB."""
    found = re.fullmatch(r"(\d+)(g|m)?", str(amount))
    assert found
    return int(found[1]) / {"g": 1, "m": 1024, None: 1024**3}[found[2]]


def seconds(duration: str) -> float:
    """``1m30s``, in seconds."""
    return sum(float(n) * {"s": 1, "m": 60}[unit] for n, unit in re.findall(r"([\d.]+)([sm])", duration))


def test_the_whole_of_it_is_valid_and_hangs_together(compose: Any) -> None:
    """Parley waits for Redis, reaches it by a password, and has the time to hand over what it does."""
    services: Mapping[str, Any] = compose("llama", "vllm", "tgi", "workers", REDIS_PASSWORD="canary")
    assert set(services) == {"redis", "parley", "worker", "llama", "vllm", "tgi"}
    for name in ("parley", "worker"):
        one = services[name]
        assert one["depends_on"]["redis"]["condition"] == "service_healthy"
        assert one["environment"]["REDIS_URL"] == "redis://:canary@redis:6379/0"
        assert one["environment"]["MODEL_URL"] == "http://model:8000"
        assert seconds(one["stop_grace_period"]) > GRACE
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert set(one["environment"]) <= set(setting_names())
        # A login is whichever .env names; a model's server may be on the host; files of one's own are in ./config.
        assert not {"WEB_USER", "WEB_PASSWORD", "WEB_AUTH_HEADER"} & set(one["environment"])
        assert "host.docker.internal" in str(one["extra_hosts"])
        assert "/config" in str(one["volumes"])
    for name in ("redis", "llama", "vllm", "tgi"):
        assert services[name]["healthcheck"]["test"]
        assert services[name]["volumes"]
    for name in ("llama", "vllm", "tgi"):
        assert services[name]["networks"]["default"]["aliases"] == ["model"]
        assert "8000" in " ".join(services[name]["command"])
    assert not services["vllm"]["command"][0].startswith("-")  # `vllm serve MODEL`: --model is going away


def test_redis_keeps_all_and_is_reached_by_nobody_else(compose: Any) -> None:
    """Nothing of it is published; what Parley shows, it shows this machine alone. Without a password nothing starts."""
    services = compose("workers", REDIS_PASSWORD="canary")
    redis = services["redis"]
    command = redis["command"] if isinstance(redis["command"], str) else " ".join(redis["command"])
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "--requirepass"):
        assert option in command
    assert "canary" not in command
    assert "ports" not in redis
    assert (redis["user"], redis["read_only"], redis["cap_drop"]) == ("redis", True, ["ALL"])
    assert redis["pids_limit"]
    most = int(re.findall(r"--maxmemory (\d+)mb", command)[0])
    assert gigabytes(redis["mem_limit"]) * 1024 >= 2 * most  # it forks to write its file anew
    assert "ports" not in services["worker"]
    assert "container_name" not in services["worker"]  # so that there may be several
    assert all("127.0.0.1" in str(port) for port in services["parley"]["ports"])
    assert "choose one" in compose()


def test_a_model_is_there_only_where_one_asks_for_it(compose: Any) -> None:
    """The profiles; and a server of one's own in their place."""
    everything = compose("llama", "vllm", "tgi", "workers", REDIS_PASSWORD="x")
    asked = {name: one["profiles"] for name, one in everything.items() if "profiles" in one}
    assert asked == {"llama": ["llama"], "vllm": ["vllm"], "tgi": ["tgi"], "worker": ["workers"]}
    elsewhere = compose(REDIS_PASSWORD="x", MODEL_URL="http://gpu1:8000")["parley"]["environment"]["MODEL_URL"]
    assert elsewhere == "http://gpu1:8000"


def test_images_are_pinned_by_version(compose: Any) -> None:
    """What ran yesterday runs tomorrow. An own image is what is built."""
    everything = compose("llama", "vllm", "tgi", "workers", REDIS_PASSWORD="x")
    for name, service in everything.items():
        if "build" not in service:
            assert re.search(r":(\w+-)?[bv]?\d+(\.\d+\.\d+)?(-\w+)?$", service["image"]), name
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+$", DOCKERFILE, re.MULTILINE)
    assert "version:" not in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def test_tgi_is_written_to_in_the_template_of_its_own_model(compose: Any) -> None:
    """PROMPT_TEMPLATE is for other models."""
    model = compose("tgi", REDIS_PASSWORD="x")["tgi"]["command"][1]
    assert family_of(model) == "falcon3"


def test_the_image_holds_what_it_needs_and_nothing_else() -> None:
    """Hashes are checked, no package's code is run to install it; the last stage has no installer, and no root."""
    build, last = DOCKERFILE.split("\nFROM ")[1:]
    for line in re.findall(r"pip [^\n]*install[^\n&]*(?:\\\n[^\n&]*)*", build):
        assert "--no-index" in line or ("--require-hashes" in line and "--only-binary :all:" in line), line
    assert re.search(r"^FROM python:\$\{PYTHON\}-slim", "FROM " + last, re.MULTILINE)
    assert not re.search(r"apt-get|gcc|build-essential|pip install", last)
    assert "site-packages/pip*" in last
    assert re.search(r"^USER parley$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/livez" in last
    assert 'ENTRYPOINT ["parley"]' in last
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", build, re.MULTILINE) for word in line.split()}
    assert copied == {word[1:] for word in ignored if word.startswith("!")}
    assert ignored[ignored.index("*")] == "*"


# The image's own environment, with a file of settings.


def instruction(name: str) -> str:
    """An instruction of the image's last stage, its lines joined."""
    last = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    return str(re.findall(rf"^{name} +(.*)$", last, re.MULTILINE)[-1].strip())


def image_env(tmp: Path) -> dict[str, str]:
    """The image's ENV; its data folder is here, and its PATH ours."""
    set_ = dict(word.split("=", 1) for word in shlex.split(instruction("ENV")))
    return {name: value.replace("/data", str(tmp / "data")) for name, value in set_.items()} | {
        "PATH": os.environ["PATH"]
    }


def read_by_docker(text: str, tmp: Path) -> dict[str, str]:
    """What `docker run --env-file` makes of a file: no quotes, no comments behind values."""
    del tmp
    lines = [line.lstrip() for line in text.splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def read_by_systemd(text: str, tmp: Path) -> dict[str, str]:
    """What systemd's own reader of such files makes of it."""
    reader = SYSTEMD_READER.path()
    folder = tmp / "environment.d"
    folder.mkdir(exist_ok=True)
    (folder / "50-parley.conf").write_text(text, encoding="utf-8")
    done = subprocess.run([reader], env={"XDG_CONFIG_HOME": str(tmp)}, capture_output=True, text=True, check=True)
    names = set(re.findall(r"^(\w+)=", text, re.MULTILINE))
    read = dict(shlex.split(line)[0].split("=", 1) for line in done.stdout.splitlines())  # it quotes for a shell
    return {name: value for name, value in read.items() if name in names}


def read_by_parley(text: str, tmp: Path) -> dict[str, str]:
    """What python-dotenv makes of it."""
    del tmp
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


READERS = (read_by_parley, read_by_docker, read_by_systemd)
SAMPLES = {
    name: str((all_settings().model_fields[field].examples or [""])[0]) for name, field in setting_names().items()
}
"""The example of every setting."""


def wild() -> dict[str, str]:
    """Values of all kinds of signs that .env.example allows without quotes."""
    signs = "abcXYZ0189 #;:,.+-*/%&!?=()[]{}<>|~^@_äé🙂"
    values = {f"V{number}": "".join(Random(number).choices(signs, k=12)).strip() for number in range(300)}  # noqa: S311
    return {name: value for name, value in values.items() if not re.search(r"(^|\s)#", value)}


@pytest.mark.parametrize("values", [SAMPLES, wild()], ids=["examples", "wild"])
@pytest.mark.parametrize("read", READERS)
def test_all_readers_of_a_file_of_settings_agree(
    tmp_path: Path, read: Callable[[str, Path], dict[str, str]], values: dict[str, str]
) -> None:
    """Where .env.example says that they do."""
    assert read("".join(f"{name}={value}\n" for name, value in values.items()), tmp_path) == values


def test_compose_reads_the_same(tmp_path: Path, compose: Any) -> None:
    """Of what it does not set itself."""
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in SAMPLES.items()), encoding="utf-8")
    read = compose(REDIS_PASSWORD="x")["parley"]["environment"]
    its_own = {"REDIS_URL", "MODEL_URL", "DATA_DIR", "HTTP_PORT", "HTTP_HOST", "WEB_HOST", "WEB_PORT"}
    assert {name: str(value) for name, value in read.items()} == SAMPLES | {name: str(read[name]) for name in its_own}


@pytest.mark.parametrize("read", READERS)
def test_a_copied_example_overrules_nothing(tmp_path: Path, read: Callable[[str, Path], dict[str, str]]) -> None:
    """Whoever reads it."""
    assert read(EXAMPLE, tmp_path) == {}


def test_the_image_without_a_login_says_what_to_set(tmp_path: Path) -> None:
    """`docker run --env-file .env parley` with a fresh copy: it is the first that anybody tries."""
    env = image_env(tmp_path) | read_by_docker(EXAMPLE, tmp_path)
    assert json.loads(instruction("ENTRYPOINT")) == ["parley"]
    started = run_with(env, tmp_path, *json.loads(instruction("CMD")))
    assert started.code == 2
    looked = run_with(env, tmp_path, "doctor")
    assert looked.code == 1
    for said in (started.err, looked.out):
        assert "WEB_USER and WEB_PASSWORD" in " ".join(said.split())


def test_a_reverse_proxy_that_logs_people_in_is_a_login_for_the_image(tmp_path: Path, redis_url: str) -> None:
    """WEB_AUTH_HEADER takes the place of a user and a password."""
    text = f"{EXAMPLE}WEB_AUTH_HEADER=X-Forwarded-User\nWEB_PORT=0\n"
    env = image_env(tmp_path) | read_by_docker(text, tmp_path) | {"REDIS_URL": redis_url}
    looked = run_with(env, tmp_path, "doctor")
    assert looked.code == 0, looked.out


async def test_the_image_with_a_login_starts_and_is_healthy(tmp_path: Path) -> None:
    """Its ENV and a file of settings: doctor, what it runs, and the HEALTHCHECK line, also behind a proxy for HTTP."""
    port, page = free_ports(2)
    text = f"{EXAMPLE}{LOGIN}HTTP_PORT={port}\nWEB_PORT={page}\n"
    env = image_env(tmp_path) | read_by_docker(text, tmp_path)
    looked = await asyncio.to_thread(run_with, env, tmp_path, "doctor")
    assert looked.code == 0, looked.out
    check = json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2])
    assert check[0] == "python"
    env |= {"http_proxy": "http://127.0.0.1:1"}

    def ask() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *check[1:]]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def healthy() -> bool:
        return not ask().returncode

    early = await asyncio.to_thread(ask)
    assert (early.returncode, early.stderr) == (1, "")
    assert early.stdout == "[Errno 111] Connection refused\n"  # one line, as `docker inspect` shows it
    async with run_parley(tmp_path, *json.loads(instruction("CMD")), **env) as parley:
        await wait_until(
            lambda: parley.process.returncode is not None or "page open" in parley.log, description="the page"
        )
        assert await asyncio.to_thread(healthy), parley.log
        assert await parley.stop() == 0


async def test_a_team_in_slack_needs_no_login_for_a_page_that_it_does_not_open(tmp_path: Path, redis_url: str) -> None:
    """In the image, `run all` leaves the page out, and says so."""
    async with SlackDouble() as slack:
        tokens = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token, "SLACK_API_URL": slack.url}
        env = image_env(tmp_path) | tokens | {"HTTP_PORT": "0", "REDIS_URL": redis_url}
        async with run_parley(tmp_path, "run", "all", **env) as parley:
            await wait_until(lambda: slack.sockets or parley.process.returncode is not None, description="a socket")
            assert slack.sockets, parley.log
            assert "platform not opened" in parley.log
            assert "WEB_USER" in parley.log


async def test_a_refused_token_is_not_tried_for_ever(tmp_path: Path, redis_url: str) -> None:
    """Exit code 2 tells a supervisor that it stays refused; the unit heeds that."""
    async with SlackDouble() as slack:
        env = {"REDIS_URL": redis_url, "SLACK_API_URL": slack.url}
        tokens = {"SLACK_BOT_TOKEN": "xoxb-revoked", "SLACK_APP_TOKEN": "xapp-revoked"}
        ran = await command(tmp_path, "run", **env, **tokens)
    assert ran.code == 2
    assert "SLACK_BOT_TOKEN" in ran.err
    assert "RestartPreventExitStatus=2\n" in UNIT


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://user:canary@127.0.0.1:1/v1"])
def test_a_model_at_localhost_is_looked_for_in_the_container(tmp_path: Path, redis_url: str, url: str) -> None:
    """Which is where it is not: the doctor says how the host is called."""
    text = f"{EXAMPLE}{LOGIN}MODEL_URL={url}\nWEB_PORT=0\n"
    env = image_env(tmp_path) | read_by_docker(text, tmp_path) | {"REDIS_URL": redis_url}
    said = " ".join(run_with(env, tmp_path, "doctor").out.split())
    assert "set MODEL_URL=http://host.docker.internal:1/v1; `docker run` then needs --add-host" in said
    assert "canary" not in said
    assert "host.docker.internal" not in run_with(env | {"container": ""}, tmp_path, "doctor").out


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    with ExitStack() as sockets:
        taken = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def test_the_service_starts_with_a_copied_example(tmp_path: Path) -> None:
    """What systemd makes of it, beside what the unit sets: the doctor is content, and files are where the unit says."""
    env = dict(re.findall(r"^Environment=(\w+)=(.*)$", UNIT, re.MULTILINE)) | read_by_systemd(EXAMPLE, tmp_path)
    assert env == {"DATA_DIR": "/var/lib/parley"}
    assert "StateDirectory=parley\n" in UNIT
    assert re.search(r"^#.*--property=EnvironmentFile=/etc/parley/env .*parley \"\$@\"", UNIT, re.MULTILINE)
    here = {"DATA_DIR": str(tmp_path / "state"), "PATH": os.environ["PATH"], "WEB_PORT": "0"}
    assert run_with(here, tmp_path, "doctor").code == 0


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """And waits long enough when it stops Parley."""
    analyze = SYSTEMD.path()
    here = tmp_path / "parley.service"
    here.write_text(UNIT.replace("/opt/parley/.venv/bin/parley", sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", here], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "parley.service" in done.stderr) == (0, False), done.stderr
    assert int(re.findall(r"TimeoutStopSec=(\d+)", UNIT)[0]) > GRACE


def test_the_workflow_runs_the_same_targets_on_every_python() -> None:
    """Those that pyproject.toml promises."""
    import yaml

    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert {".ci/run", "make audit"} <= set(steps)
    subprocess.run(["make", "--dry-run", "--always-make", "audit"], cwd=ROOT, capture_output=True, check=True)
