"""Checkpoints as data: a tree of plain values in `state.json`, its tensors in `state.safetensors`. No pickle.

What JSON cannot say has a mark: `{"tensor": NAME}` stands for a tensor, `{"float": "inf"}` for a number that is not
finite, `{"map": [[KEY, VALUE], …]}` for a dict with other keys than names. Numbers survive exactly: JSON carries the
shortest decimal that reads back as the same float, safetensors carries the bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file

from workers.learning.errors import InvalidCheckpoint

FORMAT = "neutrino-checkpoint"
VERSION = 2  # version 1 had no other mark than that of tensors
TREE_FILE = "state.json"
TENSORS_FILE = "state.safetensors"

_TENSOR, _FLOAT, _MAP = "tensor", "float", "map"


def save(state: Mapping[str, Any], folder: Path) -> None:
    """Write a tree of dicts, lists, tuples, tensors and JSON's plain values into `folder`.

    A tuple reads back as a list, and every dict as a plain one. A tensor that is there twice, such as a weight that two
    layers share, is stored once. Raises TypeError for anything else.
    """
    packing = _Packing()
    document = {"format": FORMAT, "version": VERSION, "state": packing.pack(state, "")}
    (folder / TREE_FILE).write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
    save_file(packing.tensors, folder / TENSORS_FILE)


def load(folder: Path) -> dict[str, Any]:
    """The tree that `save` wrote, its tensors on the CPU. Raises InvalidCheckpoint when that is not what is there."""
    try:
        document = json.loads((folder / TREE_FILE).read_text(encoding="utf-8"))
        tensors = load_tensors((folder / TENSORS_FILE).read_bytes())
        found = (document["format"], document["version"])
        state: dict[str, Any] = _unpack(document["state"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InvalidCheckpoint(f"The checkpoint cannot be read: {error}.") from error
    if found not in {(FORMAT, version) for version in range(1, VERSION + 1)}:
        raise InvalidCheckpoint(
            f"The checkpoint has the format {found[0]!r}, version {found[1]!r}; this release reads {FORMAT!r},"
            f" versions 1 to {VERSION}."
        )
    return state


class _Packing:
    """Turns a tree into what JSON can say, and keeps its tensors by where they were met first."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._memories: set[int] = set()

    def pack(self, node: Any, path: str) -> Any:
        if isinstance(node, torch.Tensor):
            return {_TENSOR: self._name(node, path)}
        if isinstance(node, Mapping):
            return self._pack_mapping(node, path)
        if isinstance(node, list | tuple):
            return [self.pack(value, f"{path}/{index}") for index, value in enumerate(node)]
        if isinstance(node, float) and not math.isfinite(node):
            return {_FLOAT: str(float(node))}
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"{path or 'the state'} is a {type(node).__name__}, which a checkpoint does not hold")

    def _pack_mapping(self, node: Mapping[Any, Any], path: str) -> dict[str, Any]:
        values = {key: self.pack(value, f"{path}/{key}".lstrip("/")) for key, value in node.items()}
        if all(isinstance(key, str) for key in node) and not _is_mark(node):
            return values
        return {_MAP: [[self.pack(key, f"a key of {path}"), value] for key, value in values.items()]}

    def _name(self, tensor: torch.Tensor, path: str) -> str:
        """Under which name its bytes are stored; the same for all that show the same piece of memory."""
        tensor = tensor.detach()
        piece = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and (known := self._names.get(piece)):
            return known
        self._names[piece] = path
        memory = tensor.untyped_storage()
        whole = memory.nbytes() == tensor.numel() * tensor.element_size() and memory.data_ptr() not in self._memories
        self._memories.add(memory.data_ptr())
        # safetensors refuses what shows a part of another's memory; such a tensor gets some of its own.
        self.tensors[path] = tensor.cpu().contiguous() if whole else tensor.cpu().contiguous().clone()
        return path


def _is_mark(node: Mapping[Any, Any]) -> bool:
    return len(node) == 1 and next(iter(node)) in {_TENSOR, _FLOAT, _MAP}


def _unpack(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_unpack(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if not _is_mark(node):
        return {key: _unpack(value, tensors) for key, value in node.items()}
    ((mark, content),) = node.items()
    if mark == _TENSOR:
        return tensors[content]
    if mark == _FLOAT:
        return float(content)
    return {_unpack(key, tensors): _unpack(value, tensors) for key, value in content}
