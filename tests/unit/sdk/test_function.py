"""Functions as jobs: what is taken along, what is refused, and that it runs elsewhere."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import orchestrator as nu
from orchestrator.domain.errors import InvalidSpec, NeutrinoError
from orchestrator.domain.yaml import load_documents
from orchestrator.sdk.client import Client
from orchestrator.sdk.plan import RUN_DIR
from tests.unit.sdk.conftest import Reply, Request, ScriptedApi

MODULE = """
import orchestrator as nu

@nu.job(gpu="T4", retries=2, include=["model.txt", "conf/*.json"], timeout="1h", labels={"team": "vision"}, model="m")
def train(lr: float = 0.01, *, epochs: int = 1, tags=()):
    return lr * epochs

@nu.job
def plain(data=None):
    return data

@nu.job
def anything(**settings):
    return settings

@nu.job(include=["secret/*"])
def leaves(): ...

@nu.job(include=["../outside.txt"])
def climbs(): ...

@nu.job(include=["conf"])
def folder(): ...

def outer():
    @nu.job
    def inner(): ...
    return inner

if __name__ == "__main__":
    print(train.spec(lr=0.5))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "conf").mkdir(parents=True)
    (folder / "my_train.py").write_text(MODULE)
    (folder / "model.txt").write_text("weights")
    (folder / "conf" / "a.json").write_text("{}")
    (folder / "conf" / "b.yaml").write_text("not named")
    (folder / ".env").write_text("PASSWORD=1")
    (tmp_path / "outside.txt").write_text("not yours")
    (folder / "secret").mkdir()
    (folder / "secret" / "link").symlink_to(tmp_path / "outside.txt")
    return folder


@pytest.fixture
def module(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("my_train", project / "my_train.py")
    assert spec is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "my_train", loaded)
    assert spec.loader is not None
    spec.loader.exec_module(loaded)
    return loaded


def test_calling_it_runs_it_here(module: ModuleType) -> None:
    assert module.train(0.5, epochs=4) == 2.0
    assert module.train.__name__ == "train"


def test_the_spec_holds_the_module_and_what_was_named_and_nothing_else(module: ModuleType, project: Path) -> None:
    command = module.train.command(0.5, epochs=3)
    assert command.entrypoint == "my_train:train"
    assert command.params == {"lr": 0.5, "epochs": 3}
    assert {file.path for file in command.files} == {"my_train.py", "model.txt", "conf/a.json"}
    own = next(file for file in command.files if file.path == "my_train.py")
    assert own.sha256 == hashlib.sha256((project / "my_train.py").read_bytes()).hexdigest()
    assert (str(command.resources.gpu), command.retry.max, command.timeout) == ("T4:1", 2, 3600)
    assert (command.labels, command.outputs.model, command.name) == ({"team": "vision"}, "m", "train")


def test_the_yaml_is_the_same_job(module: ModuleType) -> None:
    text = module.train.spec(lr=1e-3)
    (document,) = load_documents(text)
    assert document.parse() == module.train.command(lr=1e-3)


def test_submitting_uploads_what_the_api_lacks(
    module: ModuleType, api: ScriptedApi, client: Client, project: Path
) -> None:
    known = hashlib.sha256(b"weights").hexdigest()
    stored: dict[str, bytes] = {}

    def answer(request: Request) -> Reply:
        digest = request.path.rpartition("/")[2]
        if request.method == "HEAD":
            return Reply(204 if digest == known else 404)
        if request.method == "PUT":
            stored[digest] = request.body
            return Reply(204)
        return Reply(202, {"id": "j-1", "name": "train", "state": "QUEUED"})

    api.answers(answer)
    job = module.train.on(client).submit(0.1)
    assert job.id == "j-1"
    assert set(stored.values()) == {(project / "my_train.py").read_bytes(), b"{}"}
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in stored.items())
    document = json.loads(api.requests[-1].body)
    assert document == module.train.command(0.1).document()


def test_a_sweep_is_checked_as_a_whole_before_anything_is_sent(
    module: ModuleType, api: ScriptedApi, client: Client
) -> None:
    with pytest.raises(InvalidSpec, match="Did you mean 'lr'"):
        module.train.on(client).map([{"lr": 0.1}, {"lrr": 0.01}])
    assert api.requests == []
    jobs = [{"id": f"j-{number}", "name": "train", "state": "QUEUED"} for number in range(2)]
    api.answers(*[Reply(204)] * 3, Reply(202, {"jobs": jobs}))
    handles = module.train.on(client).map([{"lr": 0.1}, {"lr": 0.01}])
    assert [handle.id for handle in handles] == ["j-0", "j-1"]
    sent = json.loads(api.requests[-1].body)["jobs"]
    assert [one["spec"]["params"] for one in sent] == [{"lr": 0.1}, {"lr": 0.01}]


def test_a_file_that_is_edited_meanwhile_is_one_for_the_whole_sweep(
    api: ScriptedApi, client: Client, module: ModuleType
) -> None:
    model = Path(str(module.__file__)).with_name("model.txt")

    def sets() -> Iterator[dict[str, object]]:
        for number in range(3):
            model.write_text(f"version {number}")
            yield {"lr": float(number)}

    uploaded: list[str] = []

    def answer(request: Request) -> Reply:
        if request.method == "PUT":
            uploaded.append(hashlib.sha256(request.body).hexdigest())
            model.write_text("a later version")
        jobs = [{"id": f"j-{number}", "name": "train", "state": "QUEUED"} for number in range(3)]
        return (
            Reply(404, {"code": "not_found", "detail": "No."})
            if request.method == "HEAD"
            else Reply(202, {"jobs": jobs})
        )

    api.answers(answer)
    module.train.on(client).map(sets())
    sent = json.loads(api.requests[-1].body)["jobs"]
    assert {tuple(file["sha256"] for file in one["spec"]["files"]) for one in sent} == {tuple(uploaded)}


def test_parameters_become_what_the_annotations_say(module: ModuleType) -> None:
    for given in ({"lr": "0.1", "epochs": "3"}, {"lr": 0.1, "epochs": 3.0}):
        (swept,) = module.train.commands([given])
        assert swept.params == module.train.command(**given).params == {"lr": 0.1, "epochs": 3}
    assert module.train.command(lr=1).params == {"lr": 1.0}
    with pytest.raises(InvalidSpec) as caught:
        module.train.commands([{"lr": "fast", "epochs": 1.5}])
    assert [(fault.path, fault.message) for fault in caught.value.errors] == [
        ("spec.params.lr", "must be a number, not 'fast'"),
        ("spec.params.epochs", "must be a whole number, not 1.5"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": object()}, "params.data"),
        ({"data": {1, 2}}, "params.data"),
        ({"data": float("nan")}, "params.data"),
        ({"date": 1}, "Did you mean 'data'"),
    ],
)
def test_parameters_must_be_known_and_json(module: ModuleType, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        module.plain.command(**arguments)


def test_parameters_are_bound_like_arguments(module: ModuleType) -> None:
    with pytest.raises(InvalidSpec, match="too many positional"):
        module.train.command(0.1, 2)


def test_keyword_arguments_of_any_name_are_parameters(module: ModuleType) -> None:
    assert module.anything.command(a=1, b="x").params == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("name", "words"),
    [("leaves", "link that leads out"), ("climbs", "leads out"), ("folder", r"conf/\*\*")],
)
def test_no_file_from_outside_of_the_folder_is_taken(module: ModuleType, name: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        getattr(module, name).command()


def test_a_function_inside_a_function_cannot_be_found_elsewhere(module: ModuleType) -> None:
    with pytest.raises(InvalidSpec, match="top of its module"):
        module.outer().command()


def test_a_wrong_option_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidSpec, match="GPU"):
        nu.job(gpu="4x T4")
    with pytest.raises(nu.InvalidSpec, match=r"spec\.inputs\.base"):
        nu.job(inputs={"base": "digits"})
    with pytest.raises(InvalidSpec, match="duration"):
        nu.job(timeout="soon")


def test_importing_a_module_inside_a_job_submits_nothing(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(RUN_DIR, str(tmp_path))
    with pytest.raises(NeutrinoError, match="__main__"):
        module.plain.submit()


def _python(*arguments: str, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": os.pathsep.join([str(cwd), *sys.path]), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=False
    )


def test_a_script_goes_by_the_name_of_its_file(project: Path) -> None:
    ran = _python("my_train.py", cwd=project)
    (document,) = load_documents(ran.stdout)
    assert document["spec"]["entrypoint"] == "my_train:train"
    assert "my_train.py" in {file["path"] for file in document["spec"]["files"]}


def test_a_module_of_a_package_keeps_its_place(project: Path) -> None:
    package = project / "package" / "inner"
    package.mkdir(parents=True)
    (package / "work.py").write_text(MODULE.replace('"model.txt", "conf/*.json"', ""))
    ran = _python("-m", "package.inner.work", cwd=project)
    (document,) = load_documents(ran.stdout)
    assert document["spec"]["entrypoint"] == "package.inner.work:train"
    assert [file["path"] for file in document["spec"]["files"]] == ["package/inner/work.py"]


def test_a_script_whose_name_no_import_can_have_says_so(project: Path) -> None:
    (project / "my-train.py").write_text(MODULE)
    ran = _python("my-train.py", cwd=project)
    assert "my_train.py" in ran.stderr.splitlines()[-1]


def test_a_function_typed_into_a_session_says_what_to_do(project: Path) -> None:
    typed = "import orchestrator as nu\n@nu.job\ndef f(): ...\n\nf.command()\n"
    ran = _python("-i", "-q", cwd=project, stdin=typed)
    assert "%%writefile" in ran.stderr
