"""Checkpoints as data: a tree of plain values in `state.json`, its tensors in `state.safetensors`. No pickle.

A tensor's place in the tree is taken by `{"tensor": NAME}`. Numbers survive exactly: JSON carries the shortest decimal
that reads back as the same float, safetensors carries the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from workers.learning.errors import InvalidCheckpoint

FORMAT = "neutrino-checkpoint"
VERSION = 1
TREE_FILE = "state.json"
TENSORS_FILE = "state.safetensors"

_MARK = "tensor"


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Write a tree of dicts with string keys, lists, tuples, tensors and JSON's plain values into `folder`.

    A tuple reads back as a list. Raises TypeError for anything else, and ValueError for NaN or infinity
    outside a tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    document = {"format": FORMAT, "version": VERSION, "state": _take_tensors(state, "", tensors)}
    (folder / TREE_FILE).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
    (folder / TENSORS_FILE).write_bytes(save_tensors(tensors))


def load(folder: Path) -> dict[str, Any]:
    """The tree that `save` wrote, its tensors on the CPU. Raises InvalidCheckpoint when that is not what is there."""
    try:
        document = json.loads((folder / TREE_FILE).read_text(encoding="utf-8"))
        tensors = load_tensors((folder / TENSORS_FILE).read_bytes())
        found = (document["format"], document["version"])
        state: dict[str, Any] = _put_tensors(document["state"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InvalidCheckpoint(f"The checkpoint cannot be read: {error}.") from error
    if found != (FORMAT, VERSION):
        raise InvalidCheckpoint(
            f"The checkpoint has the format {found[0]!r}, version {found[1]!r}; this release reads {FORMAT!r},"
            f" version {VERSION}."
        )
    return state


def _take_tensors(node: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor):
        tensors[path] = node.detach().cpu().contiguous()
        return {_MARK: path}
    if isinstance(node, Mapping):
        if not all(isinstance(key, str) for key in node) or set(node) == {_MARK}:
            raise TypeError(f"{path or 'the state'} needs names as keys, other than {_MARK!r} alone")
        return {key: _take_tensors(value, f"{path}/{key}".lstrip("/"), tensors) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_take_tensors(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"{path} is a {type(node).__name__}, which a checkpoint does not hold")


def _put_tensors(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, dict):
        if set(node) == {_MARK}:
            return tensors[node[_MARK]]
        return {key: _put_tensors(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_put_tensors(value, tensors) for value in node]
    return node
