"""`neutrino store` and `neutrino migration estimate` as people use them: folders, artifacts, models, and nonsense."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.sdk import stores
from orchestrator.sdk.client import Client
from tests.integration.cli.conftest import Cli

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a user wants to keep: a file of several parts, a small one with an odd name, an empty one."""
    root = tmp_path / "mine"
    (root / "sub dir").mkdir(parents=True)
    (root / "weights").write_bytes(os.urandom(20 * MIB + 17))
    (root / "sub dir" / "ü%20#?").write_bytes(os.urandom(1000))
    (root / "empty").touch()
    return root


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def model(client: Client) -> str:
    """A model that a job has registered."""
    document = {
        "apiVersion": "neutrino/v1",
        "kind": "Command",
        "metadata": {"name": "maker"},
        "spec": {
            "command": ["sh", "-c", "cd $NEUTRINO_RUN_DIR/output; head -c 3000 /dev/urandom > w; echo a > b"],
            "outputs": {"model": "stored"},
        },
    }
    client.jobs.submit(document).wait(timeout="120s")
    return "stored@1"


def test_a_folder_becomes_an_artifact_moves_and_comes_home(neutrino: Cli, folder: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / "first").as_uri(), (tmp_path / "second").as_uri()
    assert neutrino("store", "put", str(folder), first, "--artifact").returncode == 0
    moved = neutrino("store", "cp", first, second, "--paranoid")
    assert (moved.returncode, moved.stdout) == (0, f"{second}\n")
    assert "MB/s" in moved.stderr
    again = neutrino("store", "cp", first, second)
    assert "20.0 MiB was there already" in again.stderr
    home = neutrino("store", "get", second, "home")
    assert home.stdout == f"{tmp_path / 'home'}\n"
    found = content(tmp_path / "home")
    assert found.pop("manifest.json") == (tmp_path / "first/manifest.json").read_bytes()
    assert found == content(folder)
    listed = json.loads(neutrino("store", "ls", second, "-o", "json").stdout)
    assert {one["key"]: one["size"] for one in listed} == {
        key: len(data) for key, data in content(tmp_path / "home").items()
    }
    (folder / "empty").write_bytes(b"changed")
    other = neutrino("store", "put", str(folder), second, "--artifact")
    assert (other.returncode, "already holds another artifact" in other.stderr) == (5, True)
    (tmp_path / "first" / "weights").write_bytes(os.urandom(20 * MIB + 17))
    damaged = neutrino("store", "cp", first, (tmp_path / "third").as_uri())
    assert (damaged.returncode, "manifest says" in damaged.stderr) == (1, True)
    assert not (tmp_path / "third" / "manifest.json").exists()


def test_plain_files_and_folders(neutrino: Cli, folder: Path, tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    assert neutrino("store", "put", str(folder), f"{store}/a").returncode == 0
    assert neutrino("store", "put", str(folder / "empty"), f"{store}/a/").stdout == f"{store}/a/\n"
    assert neutrino("store", "put", str(folder / "empty"), f"{store}/renamed").returncode == 0
    assert neutrino("store", "ls", store, "-o", "name").stdout.splitlines() == [
        "a/empty", "a/sub dir/ü%20#?", "a/weights", "renamed",
    ]  # fmt: skip
    assert neutrino("store", "get", f"{store}/a/sub%20dir/ü%2520%23%3F").returncode == 0
    assert (tmp_path / "ü%20#?").read_bytes() == (folder / "sub dir" / "ü%20#?").read_bytes()
    assert neutrino("store", "rm", f"{store}/renamed").returncode == 0
    kept = neutrino("store", "rm", f"{store}/a")
    assert (kept.returncode, "--recursive" in kept.stderr) == (5, True)
    assert "3 objects removed" in neutrino("store", "rm", "-r", f"{store}/a").stderr
    assert neutrino("store", "ls", store).returncode == 3


def test_a_model_by_its_name(neutrino: Cli, client: Client, model: str, tmp_path: Path) -> None:
    assert neutrino("store", "get", model).stdout == f"{tmp_path / 'stored-1'}\n"
    assert content(tmp_path / "stored-1")["b"] == b"a\n"
    there = (tmp_path / "there").as_uri()
    artifact = client.models.get(model).view.artifact
    assert stores.cp(artifact.id, there, client=client).counts.moved == 3002
    told = json.loads(neutrino("migration", "estimate", model, "--to", there, "-o", "json").stdout)
    assert (told["files"], told["total_bytes"], told["bytes_to_move"]) == (2, 3002, 3002)
    assert (told["cost"]["usd"], told["cost"]["checked"]) == (0.0, "")
    here = stores.estimate(model, "local", client=client)
    assert here.bytes_to_move == 0, "the store next to the pool has it already"
    assert "To move   0 B" in neutrino("migration", "estimate", model, "--to", "local").stdout
    for wrong, code in (("stored@9", 3), ("nosuch", 3), ("a-zzzz", 3)):
        assert neutrino("store", "get", wrong).returncode == code
    nowhere = neutrino("migration", "estimate", model, "--to", "azure")
    assert (nowhere.returncode, "local" in nowhere.stderr) == (3, True)


def test_interrupted_it_goes_on(neutrino: Cli, folder: Path, tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    slow = neutrino.start("store", "put", str(folder), store, "--limit", "4MB/s")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob(".neutrino/uploads/*/part-1-*")):
        assert time.monotonic() < deadline
        assert slow.poll() is None
        time.sleep(0.02)
    slow.send_signal(signal.SIGINT)
    _, told = slow.communicate(timeout=120)
    assert slow.returncode == 130, told
    assert "goes on from here" in told
    assert not (tmp_path / "store/weights").exists()
    again = neutrino("store", "put", str(folder), store, "--limit", "1GB/s")
    assert "was there already" in again.stderr
    assert content(tmp_path / "store") == content(folder)


def test_the_bar_tells_speed_and_time_left(neutrino: Cli, folder: Path, tmp_path: Path) -> None:
    seen = neutrino.on_a_terminal("store", "put", "mine", (tmp_path / "store").as_uri(), "--limit", "20MB/s")
    assert "MB/s" in seen
    assert "s left" in seen
    assert "of 20.0 MiB" in seen


NONSENSE = [
    ("store ls s3:bucket", 5, "is not the address of a store"),
    ("store ls s4://bucket", 5, "Known: az://"),
    ("store ls file:///etc/passwd", 5, "is not below a folder"),
    ("store put /etc/passwd s3://bucket/x", 5, "is not below a folder"),
    ("store cp file:///proc/self/environ s3://bucket/x", 5, "is not below a folder"),
    ("store ls file:///tmp/../etc", 5, "climbs out"),
    ("store ls file:///tmp/%2e%2e/etc", 5, "climbs out"),
    ("store ls s3://user:secret@bucket/x", 5, "Credentials do not belong"),
    ("store ls s3://bucket/a/../b", 5, "not a key"),
    ("store ls s3://bucket/x?endpoint=http://169.254.169.254", 5, "link-local or metadata"),
    ("store ls s3://bucket/x?endpoint=http://[fd00:ec2::254]", 5, "link-local or metadata"),
    ("store ls s3://bucket/x?endpoint=http://2852039166", 5, "link-local or metadata"),
    ("store ls gs://bucket/x?endpoint=http://metadata.google.internal", 5, "metadata service"),
    ("store ls az://bucket/x?account=a&endpoint=file:///etc", 5, "not an http(s) address"),
    ("store ls s3://bucket/x?colour=red", 5, "no option 'colour'"),
    ("store rm -r s3://bucket", 5, "whole bucket"),
    ("store cp a/b file:///tmp/x", 5, "neither an address nor a name"),
    ("store put mine file:///tmp/x --limit fast", 2, "is not a rate"),
    ("store put mine file:///tmp/x --limit -1", 2, "is not a rate"),
    ("store put not-there file:///tmp/x", 3, "no file or folder"),
    ("store ls s3://bucket/x?endpoint=http://127.0.0.1:9", 7, "127.0.0.1:9"),
]


@pytest.mark.parametrize(("command", "code", "told"), NONSENSE, ids=[one[0] for one in NONSENSE])
def test_nonsense_is_refused_before_anything_moves(
    command: str, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.cli.main import main

    monkeypatch.setattr("cloud_adapters.retry.random.uniform", lambda *_: 0.0)
    for name, value in {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NEUTRINO_FILE_ROOTS", "AWS_PROFILE", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    assert main(command.split()) == code
    seen = capfd.readouterr()
    assert told in seen.err
    assert not seen.out
    assert "Traceback" not in seen.err


def test_the_server_opens_only_folders_that_it_was_given(neutrino: Cli, tmp_path: Path) -> None:
    """`neutrino up` sets NEUTRINO_FILE_ROOTS: a pool's store elsewhere on the machine is refused, as is nonsense."""
    for store in (
        "file:///etc",
        "file:///etc/passwd",
        tmp_path.as_uri(),
        "s3://b?endpoint=http://169.254.169.254",
        "x",
    ):
        refused = neutrino("pool", "create", "elsewhere", "--store", store)
        assert refused.returncode == 5, (store, refused.stderr)
    assert "elsewhere" not in neutrino("pool", "list").stdout
