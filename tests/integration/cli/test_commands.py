"""The commands as people and scripts use them: what is printed where, and how they end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from orchestrator.domain.yaml import load_documents
from orchestrator.sdk.client import Client
from orchestrator.sdk.profile import Profile
from tests.integration.cli.conftest import Cli

TWO_JOBS = """\
apiVersion: neutrino/v1
kind: Command
metadata: {name: first, labels: {team: vision}}
spec: {command: [echo, one]}
---
apiVersion: neutrino/v1
kind: Command
metadata: {name: second}
spec: {command: [echo, two]}
"""


def test_run_prints_what_the_command_prints_and_ends_as_it_ends(neutrino: Cli) -> None:
    ran = neutrino("run", "--env", "WHO=world", "--", "sh", "-c", "echo hello $WHO; echo careful >&2")
    assert ran.returncode == 0
    assert ran.stdout == "hello world\n"
    assert "careful" in ran.stderr
    failed = neutrino("run", "--name", "breaks", "sh", "-c", "exit 3")
    assert failed.returncode == 8
    assert "breaks" in failed.stderr
    assert "neutrino logs" in failed.stderr


def test_run_takes_named_files_along(neutrino: Cli) -> None:
    (neutrino.folder / "hello.py").write_text("print('from a file')")
    ran = neutrino("run", "--file", "hello.py", "--", "python", "hello.py")
    assert (ran.returncode, ran.stdout) == (0, "from a file\n")


def test_a_job_from_submit_to_history(neutrino: Cli) -> None:
    job = neutrino("run", "--detach", "--label", "kind=story", "--", "echo", "once").stdout.strip()
    assert neutrino("wait", job).returncode == 0
    assert neutrino("logs", job).stdout == "once\n"
    assert neutrino("logs", "-f", job).stdout == "once\n"
    listed = json.loads(neutrino("ps", "-o", "json", "--label", "kind=story", "--state", "succeeded").stdout)
    assert [one["id"] for one in listed] == [job]
    events = json.loads(neutrino("events", job, "-o", "json").stdout)
    assert [event["target"] for event in events] == ["QUEUED", "DISPATCHED", "RUNNING", "SUCCEEDED"]
    (seen,) = load_documents(neutrino("job", "get", job, "-o", "yaml").stdout)
    assert seen["state"] == "SUCCEEDED"
    assert job in neutrino("job", "get", job).stdout
    assert neutrino("why", job).stdout.strip()
    assert neutrino("cancel", job).returncode == 5


def test_cancel_and_retry(neutrino: Cli) -> None:
    job = neutrino("run", "-d", "--", "sleep", "120").stdout.strip()
    assert neutrino("wait", "--timeout", "1s", job).returncode == 124
    assert neutrino("cancel", job).returncode == 0
    assert neutrino("wait", job).returncode == 9
    assert neutrino("retry", job).returncode == 0
    assert neutrino("cancel", job).returncode == 0
    assert neutrino("job", "wait", job).returncode == 9
    assert neutrino("retry", "j-zzzz", job).returncode == 3  # the other one is retried all the same
    assert neutrino("cancel", job).returncode == 0


def test_apply_submits_all_documents(neutrino: Cli) -> None:
    applied = neutrino("apply", "-f", "-", "-o", "name", "--wait", stdin=TWO_JOBS)
    assert applied.returncode == 0
    assert [neutrino("logs", job).stdout for job in applied.stdout.split()] == ["one\n", "two\n"]


def test_apply_submits_nothing_when_one_document_is_wrong(neutrino: Cli) -> None:
    (neutrino.folder / "jobs.yaml").write_text(
        TWO_JOBS.replace("first", "never").replace("[echo, two]", "[echo, two], gpuu: 1")
    )
    applied = neutrino("apply", "-f", "jobs.yaml")
    assert applied.returncode == 5
    assert "jobs.yaml:9:30: spec.gpuu: unknown field." in applied.stderr
    assert neutrino("ps", "--name", "never", "-o", "json").stdout == "[]\n"


def test_a_dry_run_shows_what_differs_and_submits_nothing(neutrino: Cli) -> None:
    document = TWO_JOBS.partition("---")[0].replace("first", "planned")
    first = neutrino("apply", "-f", "-", "--dry-run", stdin=document)
    assert first.returncode == 0
    assert "the first of this name" in first.stdout
    assert "local" in first.stdout
    assert neutrino("ps", "--name", "planned", "-o", "name").stdout == ""
    assert neutrino("apply", "-f", "-", "--wait", stdin=document).returncode == 0
    again = neutrino("apply", "-f", "-", "--dry-run", stdin=document)
    assert "no change" in again.stdout
    changed = neutrino("apply", "-f", "-", "--dry-run", stdin=document.replace("echo, one", "echo, three"))
    assert "-  command: [echo, one]" in changed.stdout
    assert "+  command: [echo, three]" in changed.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["job", "get", "j-zzzz"], 3),
        (["job", "get", "nonsense"], 3),
        (["model", "get", "nothing@1"], 3),
        (["apply", "-f", "missing.yaml"], 3),
        (["ps", "--bogus"], 2),
        (["ps", "--label", "no-equals"], 2),
        (["nonsense"], 2),
        (["job"], 2),
        ([], 2),
        (["ps", "--since", "yesterday"], 5),
        (["run", "--name", "NOT OK", "--", "true"], 5),
        (["run", "--env", "NEUTRINO_X=1", "--", "true"], 5),
    ],
)
def test_errors_say_what_happened_and_what_to_do(neutrino: Cli, arguments: list[str], code: int) -> None:
    ran = neutrino(*arguments)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith(("Error: ", "Usage: "))
    assert "Traceback" not in ran.stderr


def test_a_wrong_token_and_a_missing_api_have_codes_of_their_own(neutrino: Cli) -> None:
    wrong = neutrino("ps", NEUTRINO_TOKEN="nt-wrong-token")
    assert wrong.returncode == 4
    assert "wrong-token" not in wrong.stderr
    gone = neutrino("ps", NEUTRINO_API_URL="http://127.0.0.1:9")
    assert gone.returncode == 7
    assert "neutrino up" in gone.stderr


@pytest.mark.parametrize("command", [["ps", "--name", "no-such-job"], ["model", "list"]])
def test_an_empty_list_is_no_error(neutrino: Cli, command: list[str]) -> None:
    assert (neutrino(*command, "-o", "json").returncode, neutrino(*command, "-o", "json").stdout) == (0, "[]\n")
    assert (neutrino(*command, "-o", "name").returncode, neutrino(*command, "-o", "name").stdout) == (0, "")
    assert neutrino(*command).returncode == 0


@pytest.mark.parametrize("noun", ["pool", "worker", "token", "job"])
def test_every_list_has_every_format(neutrino: Cli, noun: str) -> None:
    neutrino("run", "--", "true")
    names = neutrino(noun, "list", "-o", "name").stdout.split()
    assert names
    assert len(json.loads(neutrino(noun, "list", "-o", "json").stdout)) == len(names)
    for form in ("table", "wide"):
        printed = neutrino(noun, "list", "-o", form).stdout
        assert len(printed.splitlines()) == len(names) + 1
        assert all(name in printed for name in names)
    assert neutrino(noun, "list", "-o", "yaml").stdout.startswith("- ")


def test_the_price_of_a_pool_can_be_changed(neutrino: Cli) -> None:
    def price() -> float | None:
        (pool,) = json.loads(neutrino("pool", "list", "-o", "json").stdout)
        found: float | None = pool["usdPerHour"]
        return found

    set_to = neutrino("pool", "set", "local", "--usd-per-hour", "2.5")
    assert "local costs $2.5 an hour for each slot." in set_to.stderr
    assert price() == 2.5
    assert neutrino("pool", "set", "local", "--no-price").returncode == 0
    assert price() is None
    assert neutrino("pool", "set", "nowhere", "--no-price").returncode == 3
    for wrong in ([], ["--usd-per-hour", "1", "--no-price"], ["--usd-per-hour", "-1"], ["--usd-per-hour", "nan"]):
        assert neutrino("pool", "set", "local", *wrong).returncode in {2, 5}


def test_colours_are_for_terminals_that_want_them(neutrino: Cli) -> None:
    neutrino("run", "--", "true")
    assert "\x1b[" in neutrino.on_a_terminal("ps")
    assert "\x1b" not in neutrino.on_a_terminal("ps", NO_COLOR="1")
    assert "\x1b" not in neutrino.on_a_terminal("job", "get", "j-zzzz", NO_COLOR="1")
    assert "\x1b" not in neutrino.on_a_terminal(
        "wait", neutrino("ps", "-n1", "-o", "name").stdout.strip(), NO_COLOR="1"
    )
    assert "\x1b" not in neutrino("ps").stdout


def test_a_log_cannot_take_over_the_terminal(neutrino: Cli) -> None:
    job = neutrino("run", "-d", "--", "printf", r"\033]0;title\007\033[2J\033[31mred\033[0m\n").stdout.strip()
    neutrino("wait", job)
    seen = neutrino.on_a_terminal("logs", job)
    assert "\x1b[31mred" in seen
    assert "\x1b]0;" not in seen
    assert "\x1b[2J" not in seen
    assert neutrino("logs", job).stdout == "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\n"  # a file gets what was written


def test_ctrl_c_leaves_the_job_alone(neutrino: Cli, client: Client) -> None:
    job = client.jobs.submit({**load_documents(TWO_JOBS)[0], "spec": {"command": ["sleep", "120"]}})
    waiting = neutrino.start("wait", job.id)
    assert waiting.stdout is not None
    assert waiting.stderr is not None
    assert any("RUNNING" in line for line in iter(waiting.stderr.readline, ""))  # it watches
    waiting.send_signal(signal.SIGINT)
    told = waiting.stderr.read()
    waiting.stderr.close()
    waiting.stdout.close()
    assert waiting.wait(timeout=120) == 130
    assert f"neutrino wait {job.id}" in told
    assert "Traceback" not in told
    assert not job.refresh().state.terminal
    job.cancel()


def test_a_reader_that_leaves_early_is_no_error(neutrino: Cli) -> None:
    job = neutrino("run", "-d", "--", "seq", "200000").stdout.strip()
    neutrino("wait", job)
    reading = neutrino.start("logs", job)
    assert reading.stdout is not None
    assert reading.stderr is not None
    assert reading.stdout.readline() == "1\n"
    reading.stdout.close()
    told = reading.stderr.read()
    reading.stderr.close()
    assert (reading.wait(timeout=120), told) == (0, "")


def test_login_stores_a_profile_that_works(neutrino: Cli) -> None:
    url, token = neutrino.environment.pop("NEUTRINO_API_URL"), neutrino.environment.pop("NEUTRINO_TOKEN")
    assert neutrino("ps").returncode == 4
    assert neutrino("login", url, stdin="nt-wrong\n").returncode == 4
    done = neutrino("login", url, "--profile", "here", stdin=f"{token}\n")
    assert done.returncode == 0
    assert token not in done.stdout + done.stderr
    assert neutrino("whoami", "-o", "name").stdout.strip()
    assert Profile(url, token).url in neutrino("whoami").stdout


def test_tokens_are_shown_once_and_can_be_revoked(neutrino: Cli) -> None:
    made = json.loads(neutrino("token", "create", "ci", "--user", "ci-bot", "--role", "viewer", "-o", "json").stdout)
    assert made["token"] not in neutrino("token", "list", "-o", "json").stdout
    assert neutrino("whoami", "-o", "name", NEUTRINO_TOKEN=made["token"]).stdout == "ci-bot\n"
    assert neutrino("run", "--", "true", NEUTRINO_TOKEN=made["token"]).returncode == 4
    assert neutrino("token", "revoke", made["id"]).returncode == 0
    assert neutrino("whoami", NEUTRINO_TOKEN=made["token"]).returncode == 4


def test_doctor_finds_nothing_where_all_is_well(neutrino: Cli) -> None:
    examined = neutrino("doctor", "-o", "json")
    assert examined.returncode == 0, examined.stdout
    assert {one["check"] for one in json.loads(examined.stdout)} >= {
        "profile",
        "token",
        "scheduler",
        "broker",
        "workers",
    }


def test_doctor_has_a_fix_for_a_missing_api(neutrino: Cli) -> None:
    examined = neutrino("doctor", NEUTRINO_API_URL="http://127.0.0.1:9")
    assert examined.returncode == 1
    assert "neutrino up" in examined.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_complete(neutrino: Cli, shell: str) -> None:
    assert "_NEUTRINO_COMPLETE" in neutrino("completion", shell).stdout
    completed = neutrino(
        _NEUTRINO_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="neutrino wa",
        COMP_WORDS="neutrino wa",
        COMP_CWORD="1",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "wait" in completed.stdout


def test_models_come_home_whole(neutrino: Cli, client: Client, tmp_path: Path) -> None:
    script = "import orchestrator as nu\nnu.run().output_dir.joinpath('w.txt').write_text('weights')\n"
    (neutrino.folder / "make.py").write_text(script)
    files = client.files.upload({"make.py": neutrino.folder / "make.py"})
    document = load_documents(TWO_JOBS)[0] | {
        "spec": {
            "command": ["python", "make.py"],
            "files": [file.model_dump() for file in files],
            "outputs": {"model": "home"},
        }
    }
    job = client.jobs.submit(dict(document)).wait(timeout=120)
    assert job.model.ref == "home@1"
    downloaded = neutrino("model", "download", "home@1", "--to", "there")
    assert downloaded.returncode == 0, downloaded.stderr
    assert downloaded.stdout == "there\n"
    assert (neutrino.folder / "there" / "w.txt").read_text() == "weights"
    assert neutrino("model", "list", "-o", "name").stdout == "home\n"
    assert neutrino("model", "list", "home", "-o", "name").stdout == "home@1\n"
    assert job.model.sha256 in neutrino("model", "get", "home").stdout
