"""The GPUs of this machine, through NVIDIA's management library: which there are, what they do, and who has which."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

import pynvml

from orchestrator.domain.errors import NeutrinoError


class Device(NamedTuple):
    """A device: the UUID by which CUDA can be told to use it, and its name, such as `NVIDIA H200`."""

    uuid: str
    name: str


def inventory() -> tuple[Device, ...]:
    """The GPUs of this machine; none when it has no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    return tuple(Device(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)) for handle in handles)


def usage(uuid: str) -> tuple[float | None, float | None]:
    """How busy a GPU is in percent, and how many bytes of its memory are taken; None for what it does not tell."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return None, None
    utilization = memory = None
    with contextlib.suppress(pynvml.NVMLError):  # a slice of a GPU (MIG) does not tell how busy it is
        utilization = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    with contextlib.suppress(pynvml.NVMLError):
        memory = float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    return utilization, memory


class Shares:
    """Gives each attempt GPUs of its own. A worker may have more slots than GPUs: who comes too early waits."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self.devices = devices
        self._free = [device.uuid for device in devices]
        self._freed = asyncio.Event()

    async def take(self, count: int) -> tuple[str, ...]:
        """So many GPUs, as soon as they are free. Raises NeutrinoError when this machine will never have as many."""
        if count > len(self.devices):
            had = ", ".join(device.name for device in self.devices) or "none"
            raise NeutrinoError(
                f"The job needs {count} GPUs, and this machine has {had}.", hint="The pool promises more."
            )
        while len(self._free) < count:
            self._freed.clear()
            await self._freed.wait()
        taken, self._free = tuple(self._free[:count]), self._free[count:]
        return taken

    def give_back(self, taken: tuple[str, ...]) -> None:
        """Let others have them."""
        self._free += taken
        self._freed.set()

    def environment(self, taken: tuple[str, ...]) -> dict[str, str]:
        """What tells CUDA to see these GPUs and no others; nothing on a machine without GPUs."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(taken)} if self.devices else {}
