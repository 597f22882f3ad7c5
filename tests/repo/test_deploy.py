"""How Parley is deployed: a container, several of them, a service of systemd. Nothing here needs an engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bots.envfile import setting_names
from core.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
GRACE = Settings.model_fields["grace"].default


def needs(what: object, package: str) -> None:
    """Skip a test without a tool of Debian's; in CI, where it is installed, fail."""
    if not what:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is not installed")
        pytest.skip(f"needs {package} (apt install {package})")


@pytest.fixture
def compose(tmp_path: Path) -> Any:
    """What compose makes of docker-compose.yml beside a fresh .env, with some profiles."""
    import yaml

    alone, plugin = shutil.which("docker-compose"), shutil.which("docker")
    needs(alone or plugin, "docker-compose")
    command = [alone] if alone else [str(plugin), "compose"]
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


def seconds(duration: str) -> float:
    """``1m30s``, in seconds."""
    return sum(float(n) * {"s": 1, "m": 60}[unit] for n, unit in re.findall(r"([\d.]+)([sm])", duration))


def test_the_whole_of_it_is_valid_and_hangs_together(compose: Any) -> None:
    """Parley waits for Redis, reaches it by a password, and has the time to hand over what it does."""
    services: Mapping[str, Any] = compose(
        "llama", "vllm", "tgi", "workers", REDIS_PASSWORD="canary", WEB_PASSWORD="canary"
    )
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
    for name in ("redis", "llama", "vllm", "tgi"):
        assert services[name]["healthcheck"]["test"]
        assert services[name]["volumes"]
    for name in ("llama", "vllm", "tgi"):
        assert services[name]["networks"]["default"]["aliases"] == ["model"]
        assert "8000" in " ".join(services[name]["command"])


def test_redis_keeps_all_and_is_reached_by_nobody_else(compose: Any) -> None:
    """Nothing of it is published; what Parley shows, it shows this machine alone. Without a password nothing starts."""
    services = compose("workers", REDIS_PASSWORD="canary", WEB_PASSWORD="canary")
    redis = services["redis"]
    command = redis["command"] if isinstance(redis["command"], str) else " ".join(redis["command"])
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "--requirepass"):
        assert option in command
    assert "canary" not in command
    assert "ports" not in redis
    assert "ports" not in services["worker"]
    assert "container_name" not in services["worker"]  # so that there may be several
    assert all("127.0.0.1" in str(port) for port in services["parley"]["ports"])
    assert "choose one" in compose(WEB_PASSWORD="x")
    assert "choose one" in compose(REDIS_PASSWORD="x")


def test_a_model_is_there_only_where_one_asks_for_it(compose: Any) -> None:
    """The profiles; and a server of one's own in their place."""
    everything = compose("llama", "vllm", "tgi", "workers", REDIS_PASSWORD="x", WEB_PASSWORD="x")
    asked = {name: one["profiles"] for name, one in everything.items() if "profiles" in one}
    assert asked == {"llama": ["llama"], "vllm": ["vllm"], "tgi": ["tgi"], "worker": ["workers"]}
    elsewhere = compose(REDIS_PASSWORD="x", WEB_PASSWORD="x", MODEL_URL="http://gpu1:8000")["parley"]["environment"][
        "MODEL_URL"
    ]
    assert elsewhere == "http://gpu1:8000"


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


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """And waits long enough when it stops Parley."""
    analyze = shutil.which("systemd-analyze")
    needs(analyze, "systemd")
    unit = (ROOT / "deploy" / "parley.service").read_text(encoding="utf-8")
    here = tmp_path / "parley.service"
    here.write_text(unit.replace("/opt/parley/.venv/bin/parley", sys.executable), encoding="utf-8")
    done = subprocess.run([str(analyze), "verify", here], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "parley.service" in done.stderr) == (0, False), done.stderr
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > GRACE


def test_the_workflow_runs_the_same_targets_on_every_python() -> None:
    """Those that pyproject.toml promises."""
    import yaml

    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for target in ("check", "test", "audit"):
        assert f"make {target}" in steps
    subprocess.run(["make", "--dry-run", "--always-make", "audit"], cwd=ROOT, capture_output=True, check=True)
