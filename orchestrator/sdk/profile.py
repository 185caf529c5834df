"""Where the API is and who asks: from arguments, the environment, or the profile that `neutrino login`
wrote."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import AuthenticationError, NeutrinoError, NotFound
from orchestrator.sdk.plan import RUN_DIR


@dataclass(frozen=True, slots=True)
class Profile:
    """An API and the token for it, and the data folder if `neutrino up` made it. The token never shows in a repr."""

    url: str
    token: str | None = field(default=None, repr=False)
    name: str | None = None
    data_dir: str | None = None


def config_path() -> Path:
    """The profile file: $NEUTRINO_CONFIG, or neutrino/config.json below $XDG_CONFIG_HOME or ~/.config."""
    if explicit := os.environ.get("NEUTRINO_CONFIG"):
        return Path(explicit)
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "neutrino" / "config.json"


def resolve(url: str | None = None, token: str | None = None) -> Profile:
    """The profile to use: arguments before NEUTRINO_API_URL and NEUTRINO_TOKEN before the file.

    The token in the file is given only to the URL that it is stored with. Raises AuthenticationError when
    no API is known or a value is empty, NeutrinoError when the file or a value is unusable.
    """
    chosen = _normal(_given("NEUTRINO_API_URL", url))
    secret = _given("NEUTRINO_TOKEN", token)
    stored = None if chosen and secret else current()
    if chosen is None and stored is None:
        hint = "Start one here with `neutrino up`, or name one with `neutrino login URL`."
        if RUN_DIR in os.environ:  # most often a module that submits while the job imports it
            hint = "A job does not get one by itself. Put what submits below `if __name__ == '__main__':`."
        raise AuthenticationError("No Neutrino API is known.", hint=hint)
    if stored is None or (chosen is not None and chosen != stored.url):
        return Profile(chosen or "", _clean(secret))
    return Profile(stored.url, _clean(secret or stored.token), stored.name)


def _given(variable: str, argument: str | None) -> str | None:
    """The argument, else the variable. One that is set to nothing is a slip, of a secret that was not found perhaps,
    and no wish for the profile."""
    value = os.environ.get(variable) if argument is None else argument
    if value is not None and not value.strip():
        what = f"{variable} is set, but empty" if argument is None else "the argument for it is empty"
        raise AuthenticationError(
            f"{what[:1].upper()}{what[1:]}.", hint=f"Give {variable} a value, or `unset {variable}` to use the profile."
        )
    return value


def current() -> Profile | None:
    """The current profile of the file; None without one."""
    content = _read()
    name = content.get("current")
    if name is None:
        return None
    entry = content["profiles"].get(name)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("url"), str):
        raise NotFound(
            f"The profile {name!r} in {config_path()} has no url.", hint="Mend it with `neutrino login URL`."
        )
    return Profile(_normal(entry["url"]) or "", entry.get("token"), name, entry.get("data_dir"))


def save(profile: Profile, *, name: str) -> Path:
    """Store a profile and make it the current one; the file can be read by its owner only. Returns its
    path."""
    content = _read()
    entry = {"url": profile.url, "token": profile.token, "data_dir": profile.data_dir}
    content["profiles"][name] = {key: value for key, value in entry.items() if value is not None or key != "data_dir"}
    content["current"] = name
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # created with mode 0600
        json.dump(content, file, indent=2)
    Path(file.name).replace(path)
    return path


def _read() -> dict[str, Any]:
    path = config_path()
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {"profiles": {}}
    except (OSError, ValueError) as error:
        raise NeutrinoError(
            f"{path} cannot be read: {error}.", hint="Mend or delete it, then `neutrino login URL`."
        ) from None
    if not isinstance(content, dict) or not isinstance(content.setdefault("profiles", {}), dict):
        raise NeutrinoError(f"{path} holds no profiles.", hint="Delete it, then `neutrino login URL`.")
    return content


def _normal(url: str | None) -> str | None:
    if url is None:
        return None
    url = url.strip().rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise NeutrinoError(f"{url!r} is not the URL of an API.", hint="Write it like https://neutrino.example.com")
    return url


def _clean(token: str | None) -> str | None:
    """The token without the newline that a file or a paste adds. Its text is in no error: it is a secret."""
    if token is None:
        return None
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise AuthenticationError(
            "The token contains characters that no token has.", hint="Copy it again, in one piece."
        )
    return token
