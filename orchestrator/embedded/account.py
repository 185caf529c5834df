"""Who runs a database server.

Postgres refuses to run as root, and Redis should not. When this process is root, servers run as `nobody`, through
util-linux's `setpriv`. Their programs or their data may lie below a folder that only root may enter, such as `/root`:
in that case, and only then, they keep the one capability that lets them pass, CAP_DAC_READ_SEARCH (or, in a container
without it, CAP_DAC_OVERRIDE). No mode of any folder is changed, and no account is made.

The C library's `access()` ignores that capability for a process that is not root, and Postgres looks for
its own program with it; the secure bit `no_setuid_fixup` turns this off. See capabilities(7) and access(2).
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded.errors import NoAccount

_NAME = "nobody"
_PASSES = {"dac_read_search": 2, "dac_override": 1}  # the bits in linux/capability.h, the weaker one first


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group, and what to put before a command so that it runs as them."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    def own(self, path: Path) -> None:
        """Give a file or an empty folder to this account."""
        if (path.stat().st_uid, path.stat().st_gid) != (self.uid, self.gid):
            os.chown(path, self.uid, self.gid)


def for_server(*paths: Path) -> Account:
    """The account for a server that has to reach these paths: our own, unless we are root.

    Raises:
        NoAccount: we are root, and this system cannot run the server as somebody else.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NoAccount(
            "As root, the database runs as another user by way of `setpriv`, which is not installed.",
            hint="Install util-linux, or run this as an ordinary user.",
        )
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        raise NoAccount(f"There is no account {_NAME!r}.", hint="Run this as an ordinary user.") from None
    options = ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups", "--no-new-privs"]
    closed = next((folder for path in paths for folder in _closed(path)), None)
    options += ["--inh-caps=-all"] if closed is None else _passing(closed)
    return Account(entry.pw_uid, entry.pw_gid, (setpriv, *options))


def _closed(path: Path) -> list[Path]:
    """The folders on the way to `path` that not everybody may enter."""
    return [folder for folder in path.resolve().parents if not folder.stat().st_mode & 0o001]


def _passing(closed: Path) -> list[str]:
    held = _capabilities()
    name = next((name for name, bit in _PASSES.items() if held >> bit & 1), None)
    if name is None:
        raise NoAccount(
            f"The account {_NAME!r} may not enter {closed}, and this process has no capability to let it pass.",
            hint="Choose a data folder that everybody may enter with --data-dir, or run this as an ordinary user.",
        )
    only = f"-all,+{name}"
    return [f"--inh-caps={only}", f"--ambient-caps={only}", "--securebits=+no_setuid_fixup"]


def _capabilities() -> int:
    """The permitted capabilities of this process as a bit mask; see proc(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm:"))
