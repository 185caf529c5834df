"""Documents that are refused: what is tested, the document, the path of its fault, the message, and the hint."""

from __future__ import annotations

import math
from typing import Any

from tests.unit.domain.documents import COMMAND, TRAIN, document_with

LABEL_KEY = "Use 1 to 63 of a-z, A-Z, 0-9, '.', '_', '/' and '-', with a letter or digit at both ends."
ONE_PROGRAM = "Write `command: [program, argument]` or `entrypoint: package.module:function`."

REFUSED: list[tuple[str, dict[str, Any], str, str, str | None]] = [
    # the envelope
    ("unknown key at the top", document_with(TRAIN, "sepc", {}), "sepc", "unknown field", "Did you mean 'spec'?"),
    (
        "unknown metadata",
        document_with(TRAIN, "metadata/label", {}),
        "metadata.label",
        "unknown field",
        "Did you mean 'labels'?",
    ),
    (
        "a key like no other",
        document_with(TRAIN, "metadata/zzz", 1),
        "metadata.zzz",
        "unknown field",
        "Known here: name, labels.",
    ),
    ("old version", document_with(TRAIN, "apiVersion", "v1"), "apiVersion", "is 'v1'", "Write apiVersion: neutrino/v1"),
    ("unknown kind", document_with(TRAIN, "kind", "Trian"), "kind", "is 'Trian'", "Did you mean 'Train'?"),
    ("strange kind", document_with(TRAIN, "kind", "Pod"), "kind", "is 'Pod'", "Known kinds: Train, Command."),
    ("kind of a wrong type", document_with(TRAIN, "kind", ["Train"]), "kind", "is ['Train']", "Did you mean 'Train'?"),
    ("spec of a wrong type", document_with(TRAIN, "spec", []), "spec", "must be a mapping", "Write spec: {…}."),
    (
        "name in the wrong place",
        document_with(TRAIN, "spec/name", "x"),
        "spec.name",
        "belongs under metadata.name",
        "Move it to metadata.name.",
    ),
    # unknown fields and the nearest key
    (
        "unknown field of the spec",
        document_with(TRAIN, "spec/workloads", "x"),
        "spec.workloads",
        "unknown field",
        "Did you mean 'workload'?",
    ),
    (
        "unknown nested field",
        document_with(TRAIN, "spec/resources/gpus", "T4"),
        "spec.resources.gpus",
        "unknown field",
        "Did you mean 'gpu'?",
    ),
    (
        "camel case matters",
        document_with(TRAIN, "spec/placement/maxCostUSD", 1),
        "spec.placement.maxCostUSD",
        "unknown field",
        "Did you mean 'maxCostUsd'?",
    ),
    # names
    *(
        (
            f"name {name!r}",
            document_with(TRAIN, "metadata/name", name),
            "metadata.name",
            f"{name[:80]!r} is not allowed here",
            "Use 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends.",
        )
        for name in ("", "Digits", "a_b", "-a", "a-", "a b", "a\n", "ä", "a" * 64, "../a")
    ),
    ("name missing", document_with(TRAIN, "metadata", {}), "metadata.name", "is required", "Add `name`."),
    # workloads, parameters, datasets
    (
        "unknown workload",
        document_with(TRAIN, "spec/workload", "image-clasifier"),
        "spec.workload",
        "there is no workload 'image-clasifier'.",
        "Did you mean 'image-classifier'?",
    ),
    (
        "unknown dataset",
        document_with(TRAIN, "spec/dataset", "builtin://digit"),
        "spec.dataset",
        "image-classifier does not take the dataset 'builtin://digit'.",
        "Did you mean 'builtin://digits'?",
    ),
    (
        "no dataset",
        document_with(TRAIN, "spec/dataset", None),
        "spec.dataset",
        "image-classifier needs a dataset.",
        "Name one of: builtin://digits.",
    ),
    (
        "unknown parameter",
        document_with(TRAIN, "spec/params/epoch", 3),
        "spec.params.epoch",
        "unknown parameter 'epoch'.",
        "Did you mean 'epochs'?",
    ),
    (
        "parameter out of range",
        document_with(TRAIN, "spec/params/epochs", 0),
        "spec.params.epochs",
        "must be at least 1, not 0.",
        "It is the largest number of passes over the training images.",
    ),
    (
        "parameter of a wrong type",
        document_with(TRAIN, "spec/params/epochs", True),
        "spec.params.epochs",
        "a number is needed, not true or false.",
        "It is the largest number of passes over the training images.",
    ),
    # choices
    (
        "unknown cloud",
        document_with(TRAIN, "spec/placement/clouds", ["gcloud"]),
        "spec.placement.clouds[0]",
        "'gcloud' is not one of 'aws', 'gcp', 'azure' or 'local'",
        None,
    ),
    (
        "mistyped cloud",
        document_with(TRAIN, "spec/placement/clouds", ["aws", "azur"]),
        "spec.placement.clouds[1]",
        "'azur' is not one of 'aws', 'gcp', 'azure' or 'local'",
        "Did you mean 'azure'?",
    ),
    (
        "unknown kind of retry",
        document_with(TRAIN, "spec/retry/on", ["infrastructure"]),
        "spec.retry.on[0]",
        "'infrastructure' is not one of 'error', 'infra' or 'preempted'",
        None,
    ),
    # ranges and types
    (
        "retries out of range",
        document_with(TRAIN, "spec/retry/max", 101),
        "spec.retry.max",
        "must be at most 100, not 101",
        None,
    ),
    (
        "no money",
        document_with(TRAIN, "spec/placement/maxCostUsd", 0),
        "spec.placement.maxCostUsd",
        "must be more than 0, not 0",
        None,
    ),
    (
        "half a node",
        document_with(TRAIN, "spec/resources/nodes", 1.5),
        "spec.resources.nodes",
        "must be a whole number, not 1.5",
        "Write a plain number, such as 4.",
    ),
    (
        "too little memory",
        document_with(TRAIN, "spec/resources/memory", "1Ki"),
        "spec.resources.memory",
        "must be at least 16Mi, not 1Ki",
        None,
    ),
    (
        "memory without sense",
        document_with(TRAIN, "spec/resources/memory", "much"),
        "spec.resources.memory",
        "not an amount of memory",
        "Write 512Mi, 8Gi or 1.5G.",
    ),
    (
        "more memory than numbers hold",
        document_with(TRAIN, "spec/resources/memory", "9" * 400 + "Gi"),
        "spec.resources.memory",
        "not an amount of memory",
        "Write 512Mi, 8Gi or 1.5G.",
    ),
    (
        "gpu without sense",
        document_with(TRAIN, "spec/resources/gpu", "T4:none"),
        "spec.resources.gpu",
        "not a GPU request",
        "Write T4, A100:8 or H100:1.",
    ),
    ("no time", document_with(TRAIN, "spec/timeout", 0), "spec.timeout", "must be more than 0s, not 0s", None),
    (
        "more than a month",
        document_with(TRAIN, "spec/timeout", "31d"),
        "spec.timeout",
        "must be at most 30d, not 31d",
        None,
    ),
    (
        "time without sense",
        document_with(TRAIN, "spec/timeout", "soon"),
        "spec.timeout",
        "not a duration",
        "Write 90s, 15m, 1h30m or 2d.",
    ),
    (
        "label that is a number",
        document_with(TRAIN, "metadata/labels", {"team": 1}),
        "metadata.labels.team",
        "must be text, not 1",
        'Put it in quotes: "1".',
    ),
    (
        "label key",
        document_with(TRAIN, "metadata/labels", {"team ": "a"}),
        "metadata.labels.team ",
        "'team ' is not allowed here",
        LABEL_KEY,
    ),
    (
        "too many labels",
        document_with(TRAIN, "metadata/labels", {f"k{n}": "" for n in range(33)}),
        "metadata.labels",
        "must have at most 32 items",
        None,
    ),
    # environment
    *(
        (
            f"reserved {name}",
            document_with(COMMAND, f"spec/env/{name}", "x"),
            f"spec.env.{name}",
            "reserved: Neutrino sets it itself",
            None,
        )
        for name in ("NEUTRINO_TOKEN", "LD_PRELOAD", "LD_AUDIT", "RANK", "WORLD_SIZE", "MASTER_ADDR")
    ),
    *(
        (
            f"env {name!r}",
            document_with(COMMAND, "spec/env", {name: "x"}),
            f"spec.env.{name}" if name else "spec.env.",
            "not a name of an environment variable",
            None,
        )
        for name in ("A=B", "1A", "A B", "A" * 129)
    ),
    (
        "env that is a number",
        document_with(COMMAND, "spec/env/N", 1),
        "spec.env.N",
        "must be text, not 1",
        'Put it in quotes: "1".',
    ),
    # commands
    (
        "empty argv",
        document_with(COMMAND, "spec/command", []),
        "spec.command",
        "must have at least 1 item",
        None,
    ),
    (
        "empty program",
        document_with(COMMAND, "spec/command", [" "]),
        "spec.command",
        "the first word, the program, is empty",
        None,
    ),
    (
        "argv as text",
        document_with(COMMAND, "spec/command", "true"),
        "spec.command",
        "must be a list, not 'true'",
        "Put it in brackets: [true].",
    ),
    (
        "two programs",
        document_with(COMMAND, "spec/entrypoint", "a:b"),
        "spec",
        "give either command or entrypoint, one of them",
        ONE_PROGRAM,
    ),
    (
        "no program",
        document_with(COMMAND, "spec", {}),
        "spec",
        "give either command or entrypoint, one of them",
        ONE_PROGRAM,
    ),
    (
        "entrypoint",
        document_with(COMMAND, "spec", {"entrypoint": "a.b"}),
        "spec.entrypoint",
        "'a.b' is not allowed here",
        "Write it as package.module:function.",
    ),
    # what neither JSON nor the database can give back
    ("NaN", document_with(TRAIN, "spec/params/lr", math.nan), "spec.params.lr", "is not a finite number", None),
    ("infinity", document_with(TRAIN, "spec/params/lr", -math.inf), "spec.params.lr", "is not a finite number", None),
    ("NUL", document_with(COMMAND, "spec/command", ["a\x00b"]), "spec.command[0]", "contains a NUL character", None),
    (
        "NUL in a key",
        document_with(COMMAND, "spec/params", {"a\x00b": 1}),
        "spec.params[key]",
        "contains a NUL character",
        None,
    ),
    (
        "half a pair",
        document_with(COMMAND, "spec/command", ["\ud800"]),
        "spec.command[0]",
        "contains half of a surrogate pair, which is no character",
        None,
    ),
    (
        "half a pair in a key",
        document_with(COMMAND, "spec/params", {"\udfff": 1}),
        "spec.params[key]",
        "contains half of a surrogate pair, which is no character",
        None,
    ),
    ("huge number", document_with(COMMAND, "spec/params/n", 2**63), "spec.params.n", "does not fit in 64 bits", None),
    (
        "hugely negative",
        document_with(COMMAND, "spec/params/n", -(10**5000)),
        "spec.params.n",
        "does not fit in 64 bits",
        None,
    ),
]
