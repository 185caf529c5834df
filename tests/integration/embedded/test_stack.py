"""The whole system on one machine: real servers, real services, all of them ended in every way there is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from orchestrator import Client, Command
from orchestrator.domain.errors import ServerUnavailable
from orchestrator.embedded import account, credentials
from orchestrator.embedded.errors import AlreadyRunning, DataFolderError, PortBusy
from orchestrator.embedded.stack import Stack, default_data_dir

_RUN_STACK = Path(__file__).with_name("run_stack.py")

Until = Callable[[Callable[[], object]], None]
Alive = Callable[[int], bool]
Kill = Callable[[int], None]


@pytest.fixture(autouse=True)
def _own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that several tests look at. Below pytest's own folder, which is closed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)
        patch.delenv("REDIS_URL", raising=False)
        with Stack(tmp_path_factory.mktemp("stack"), slots=1) as stack:
            yield stack


@pytest.fixture
def separate(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """A stack in a process of its own, its folder, and the pids of everything that belongs to it."""
    process = subprocess.Popen([sys.executable, str(_RUN_STACK), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        yield process, tmp_path, [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        Stack(tmp_path).down()


def _pids(stack: Stack) -> dict[str, int]:
    return {child.name: child.running.identity.pid for child in stack.status().children if child.running}


def _whoami(url: str, token: str) -> int:
    return httpx.get(f"{url}/v1/whoami", headers={"Authorization": f"Bearer {token}"}).status_code


def test_everything_is_there(stack: Stack) -> None:
    status = stack.status()
    assert status.running
    assert status.ready
    assert (status.pid, status.url) == (os.getpid(), stack.url)
    names = ["postgres", "redis", "api", "scheduler-1", "scheduler-2", "worker-1"]
    assert [child.name for child in status.children] == names
    assert all(child.alive for child in status.children)


def test_a_job_travels_through_it(stack: Stack) -> None:
    with Client(stack.url, token=stack.admin_token) as client:
        job = client.jobs.submit(Command(name="hello", command=["echo", "hello there"]))
        job.wait(timeout="120s")
        assert any("hello there" in line.text for line in job.logs())


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("api", {"REDIS_URL", "NEUTRINO_TOKEN"}),
        ("scheduler-1", {"NEUTRINO_TOKEN"}),
        ("worker-1", {"DATABASE_URL"}),
    ],
)
def test_each_service_sees_only_what_it_needs(stack: Stack, name: str, never: set[str]) -> None:
    environment = psutil.Process(_pids(stack)[name]).environ()
    assert environment.keys() & never == set()
    assert not any("postgresql" in value for value in environment.values()) or "DATABASE_URL" not in never


def test_secrets_are_for_their_owner_alone(stack: Stack) -> None:
    assert (stack.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600
    for pid in _pids(stack).values():
        assert stack.admin_token not in " ".join(psutil.Process(pid).cmdline())


def test_a_second_stack_on_the_same_folder_is_told_about_the_first(stack: Stack) -> None:
    with pytest.raises(AlreadyRunning, match=f"in use by process {os.getpid()} at {stack.url}"):
        Stack(stack.data_dir).up()
    assert stack.status().ready


@pytest.mark.parametrize("name", ["postgres", "redis", "api", "scheduler-1", "worker-1"])
def test_what_dies_comes_back(stack: Stack, name: str, until: Until, kill: Kill) -> None:
    first = _pids(stack)[name]
    kill(first)
    until(lambda: _pids(stack).get(name, first) != first and stack.status().ready)
    with Client(stack.url, token=stack.admin_token) as client:
        client.jobs.submit(Command(name="after", command=["true"])).wait(timeout="120s")


def test_down_leaves_nothing_and_the_next_up_finds_everything(tmp_path: Path, alive: Alive) -> None:
    stack = Stack(tmp_path, schedulers=1)
    stack.up()
    family = [child.pid for child in psutil.Process().children(recursive=True)]
    mine = set(_pids(stack).values())
    assert mine <= set(family)
    url, token = stack.url, stack.admin_token
    with Client(url, token=token) as client:
        job = client.jobs.submit(Command(name="kept", command=["true"]))
        job.wait(timeout="120s")
    below = {child.pid for pid in mine for child in psutil.Process(pid).children(recursive=True)} | mine
    stack.down()
    assert not any(map(alive, below))
    assert not stack.status().running
    with stack:
        assert (stack.url, stack.admin_token) == (url, token)
        with Client(url, token=token) as client:
            assert client.jobs.get(job.id).state == "SUCCEEDED"


def test_lost_credentials_are_replaced(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0, schedulers=1) as stack:
        before = stack.admin_token
    (tmp_path / "credentials.json").unlink()
    with Stack(tmp_path, workers=0, schedulers=1) as stack:
        assert stack.admin_token != before
        assert _whoami(stack.url, stack.admin_token) == 200
        assert _whoami(stack.url, before) == 401


def test_other_servers_are_used_when_named(
    tmp_path: Path, empty_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Stack(tmp_path, workers=0, schedulers=1) as stack:
        own = stack.admin_token
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    with Stack(tmp_path, workers=1, schedulers=1) as stack:
        assert [child.name for child in stack.status().children] == ["api", "scheduler-1", "worker-1"]
        assert (stack.database_url, stack.redis_url) == (empty_database_url, redis_url)
        assert _whoami(stack.url, stack.admin_token) == 200
        other = stack.admin_token
    monkeypatch.delenv("DATABASE_URL")
    with Stack(tmp_path, workers=0, schedulers=1) as stack:  # the tokens in the file are the other database's
        assert stack.admin_token not in {own, other}
        assert _whoami(stack.url, stack.admin_token) == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it(
    separate: tuple[subprocess.Popen[str], Path, list[int]], number: int, alive: Alive
) -> None:
    process, _, family = separate
    process.send_signal(number)
    assert process.wait() == 0
    assert not any(map(alive, family))


def test_kill_9_ends_all_of_it_and_the_jobs_that_run(
    separate: tuple[subprocess.Popen[str], Path, list[int]], alive: Alive, until: Until, kill: Kill
) -> None:
    process, folder, _ = separate
    note = folder / "pid-of-the-job"
    stored = credentials.load(folder / "credentials.json")
    url = Stack(folder).status().url
    assert stored is not None
    with Client(url, token=stored.admin_token) as client:
        script = f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 1000"
        client.jobs.submit(Command(name="long", command=["sh", "-c", script]))
        until(note.exists)
    family = psutil.Process(process.pid).children(recursive=True)
    assert int(note.read_text()) in {child.pid for child in family}
    kill(process.pid)
    until(lambda: not any(alive(child.pid) for child in family))


def test_down_reaches_a_stack_of_another_process(
    separate: tuple[subprocess.Popen[str], Path, list[int]], alive: Alive
) -> None:
    process, folder, family = separate
    assert Stack(folder).status().pid == process.pid
    Stack(folder).down()
    assert process.wait() == 0
    assert not any(map(alive, family))
    Stack(folder).down()  # once more does no harm


def test_down_without_a_folder_does_nothing(tmp_path: Path) -> None:
    Stack(tmp_path / "none").down()
    assert not (tmp_path / "none").exists()


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy, match=f"Port {port} on 127.0.0.1 cannot be used: Address already in use"):
            Stack(tmp_path, port=port).up()
    assert not Stack(tmp_path).status().running


def test_a_database_that_is_away_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://nobody:nothing@127.0.0.1:1/none")
    with pytest.raises(ServerUnavailable, match=r"DATABASE_URL at 127.0.0.1:1 cannot be used: .*refused"):
        Stack(tmp_path).up()
    assert not Stack(tmp_path).status().running


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderError, match=r"cannot be used: .*--data-dir"):
        Stack(tmp_path / "file" / "data").up()


def test_the_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert default_data_dir() == Path("/somewhere/neutrino")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_data_dir() == Path("/home/me/.local/share/neutrino")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it(open_folder: Path, alive: Alive) -> None:
    runner = account.for_server(Path(sys.executable), _RUN_STACK)
    runner.own(open_folder)
    argv = [*runner.prefix, sys.executable, str(_RUN_STACK), str(open_folder / "data")]
    env = {"PATH": os.environ["PATH"], "HOME": str(open_folder)}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        family = psutil.Process(process.pid).children(recursive=True)
        assert {child.uids().effective for child in family} == {runner.uid}
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert not any(alive(child.pid) for child in family)
