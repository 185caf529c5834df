"""`neutrino`: its commands, and what all of them share, which is how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer._completion_classes import completion_init
from typer.core import TyperGroup

from orchestrator.cli import (
    apply,
    audit,
    clusters,
    doctor,
    fleet,
    inspect,
    jobs,
    login,
    logs,
    migrate_job,
    migrations,
    models,
    notifications,
    run,
    shell,
    stack,
    status,
    store,
    ui,
)
from orchestrator.cli.output import ReaderGone, complain, note, write
from orchestrator.domain.errors import JobFailed, NeutrinoError
from orchestrator.version import VERSION

_INTERRUPTED = 130
_COMPLETE = "_NEUTRINO_COMPLETE"


class _Sections(TyperGroup):
    """Lists the commands under the headings of their help panels instead of in one long row."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            if not command.hidden:
                heading = getattr(command, "rich_help_panel", None)
                text = command.get_short_help_str(formatter.width - 18)
                sections.setdefault(heading if isinstance(heading, str) else "Commands", []).append((name, text))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def _group(**options: Any) -> typer.Typer:
    return typer.Typer(
        cls=_Sections,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **options,
    )


app = _group(help="One control plane for AI jobs on every cloud.")
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}  # options after the program are its own

_SHORT: dict[str, dict[str, Any]] = {
    "Jobs": {
        "apply": apply.apply,
        "run": run.run,
        "ps": jobs.list_jobs,
        "logs": logs.logs,
        "wait": jobs.wait,
        "why": inspect.why,
        "metrics": inspect.metrics,
        "events": inspect.events,
        "cancel": jobs.cancel,
        "retry": jobs.retry,
    },
    "This machine": {
        "up": stack.up,
        "down": stack.down,
        "demo": stack.demo,
        "ui": ui.ui,
        "doctor": doctor.doctor,
        "login": login.login,
        "status": status.status,
        "whoami": login.whoami,
        "completion": shell.completion,
        "schema": shell.schema,
    },
}
_NOUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "job": (
        "Jobs: list, get, and the commands above.",
        {
            "list": jobs.list_jobs,
            "get": inspect.get,
            "logs": logs.logs,
            "wait": jobs.wait,
            "cancel": jobs.cancel,
            "retry": jobs.retry,
            "checkpoint": migrate_job.checkpoint,
            "why": inspect.why,
            "events": inspect.events,
            "metrics": inspect.metrics,
        },
    ),
    "model": (
        "Models: list, get, migrate, verify, alias, download.",
        {
            "list": models.list_models,
            "get": models.get,
            "download": models.download,
            "replicas": models.list_replicas,
            "migrate": migrations.migrate_model,
            "verify": models.verify,
            "alias": models.alias,
            "delete": models.delete,
        },
    ),
    "store": (
        "Objects in any store: ls, put, get, rm, cp.",
        {"ls": store.list_objects, "put": store.put, "get": store.get, "rm": store.remove, "cp": store.copy},
    ),
    "migrate": (
        "Let a model or a job go to another cloud.",
        {"model": migrations.migrate_model, "job": migrate_job.migrate_job},
    ),
    "migration": (
        "Copies between clouds: estimate, list, wait, cancel.",
        {
            "estimate": store.estimate,
            "list": migrations.list_migrations,
            "get": migrations.get,
            "wait": migrations.wait,
            "cancel": migrations.cancel,
        },
    ),
    "pool": (
        "Workers of one shape: list, create, set.",
        {"list": fleet.list_pools, "create": fleet.create_pool, "set": fleet.set_pool},
    ),
    "cluster": (
        "Where pods run: add, list, check, drain, and more.",
        {
            "add": clusters.add,
            "list": clusters.list_clusters,
            "check": clusters.check,
            "drain": clusters.drain,
            "resume": clusters.resume,
            "remove": clusters.remove,
        },
    ),
    "worker": ("Processes that run jobs: list, drain.", {"list": fleet.list_workers, "drain": fleet.drain}),
    "token": (
        "Who may do what: list, create, revoke.",
        {"list": fleet.list_tokens, "create": fleet.create_token, "revoke": fleet.revoke_token},
    ),
    "notification": (
        "Who is told when jobs end: list, create, test, delete.",
        {
            "list": notifications.list_all,
            "create": notifications.create,
            "test": notifications.test,
            "deliveries": notifications.deliveries,
            "delete": notifications.delete,
        },
    ),
    "audit": ("Who did what: list, verify.", {"list": audit.list_audit, "verify": audit.verify}),
}

for _panel, _commands in _SHORT.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel, context_settings=_PASS_ON if _name == "run" else None)(_command)
    if _panel == "Jobs":
        for _noun, (_help, _verbs) in _NOUNS.items():
            _sub = _group(help=_help)
            for _verb, _function in _verbs.items():
                _sub.command(_verb)(_function)
            app.add_typer(_sub, name=_noun, rich_help_panel="Things")


def _version(asked: bool) -> None:
    if asked:
        write(f"neutrino {VERSION}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 unexpected, 2 usage, 3 not found, 4 auth, 5 invalid or
    conflict, 6 quota or capacity, 7 unreachable, 8 job failed, 9 cancelled, 124 timeout, 130 interrupted."""
    if _COMPLETE in os.environ:  # a shell asks what could come next
        completion_init()
    try:
        result = app(arguments, prog_name="neutrino", standalone_mode=False)
    except ReaderGone:
        _close_quietly()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _INTERRUPTED
    except NeutrinoError as error:
        _explain(error)
        return error.exit_code
    except typer.TyperException as error:
        return _explain_usage(error)
    except Exception as error:
        if os.environ.get("NEUTRINO_DEBUG"):
            raise
        complain(f"{type(error).__name__}: {error}", "This is a fault of Neutrino. NEUTRINO_DEBUG=1 shows where.")
        return 1
    return result if isinstance(result, int) else 0


def _explain(error: NeutrinoError) -> None:
    if os.environ.get("NEUTRINO_DEBUG"):
        import traceback

        sys.stderr.write(traceback.format_exc())
    for line in error.log_tail if isinstance(error, JobFailed) else ():
        note(f"  │ {line}", style="dim")
    request = f" (request {error.request_id})" if error.request_id and error.exit_code == 1 else ""
    complain(error.message + request, error.hint)


def _explain_usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    if error.message.startswith("Usage: "):  # a noun without its verb: the help is the answer
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    hint = f"`{context.command_path} --help` lists what it takes." if context is not None else None
    complain(error.format_message().replace(" Value error, ", " "), hint)  # pydantic's words, which say nothing more
    return error.exit_code


def _close_quietly() -> None:
    """Let the interpreter's last flush go nowhere: its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
