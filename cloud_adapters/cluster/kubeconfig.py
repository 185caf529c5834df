"""A kubeconfig, opened: whatever is wrong with it is said in words, before anybody is asked anything."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import Configuration
from kubernetes.config import KUBE_CONFIG_DEFAULT_LOCATION, ConfigException
from kubernetes.config.exec_provider import ExecProvider
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from cloud_adapters.compute_errors import BadReference
from orchestrator.domain.pods import ClusterRef

_RENEW = (
    "Write it anew: `aws eks update-kubeconfig`, `gcloud container clusters get-credentials`, `az aks get-credentials`,"
    " or `kubectl config`."
)
_FORM = (AttributeError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError)


def load(ref: ClusterRef, settings: Configuration) -> str | None:
    """Fill `settings` from the file; returns the namespace of its context. Raises BadReference."""
    where = ref.kubeconfig or "$KUBECONFIG"
    try:
        found = KubeConfigMerger(ref.kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION).config
        if found is None:
            raise ConfigException("there is no such file where this process runs")
        loader = KubeConfigLoader(found, active_context=ref.context)
        loader.load_and_set(settings)
        context: dict[str, Any] = loader.current_context["context"]
        _look_at_user(found, context.get("user"), settings)
    except Exception as error:  # a plugin of theirs may raise anything
        words = " ".join(str(error).split())
        if isinstance(error, _FORM):
            words = f"it does not have the form of one ({words})"
        raise BadReference(
            f"The kubeconfig {where} cannot be used: {words}",
            hint=f"`kubectl --kubeconfig FILE get pods` must work where the launcher runs. {_RENEW}",
        ) from error
    if not settings.host:
        raise BadReference(f"The kubeconfig {where} names no server for its cluster.", hint=_RENEW)
    namespace: str | None = context.get("namespace")
    return namespace


def _look_at_user(found: Any, name: str | None, settings: Configuration) -> None:
    """The client goes on without credentials when it finds none, and only logs why."""
    if name is None:
        return
    entry = found["users"].get_with_name(name, safe=True)
    if entry is None:
        raise ConfigException(f"its context names the user {name}, whom it does not have")
    user = entry.safe_get("user") or {}
    if "exec" in user and not (settings.api_key or settings.cert_file):
        plugin = entry["user"]["exec"]
        ExecProvider(plugin, str(Path(entry.path).parent)).run()  # raises what was only logged
        raise ConfigException(f"its plugin {plugin.safe_get('command')} gives neither a token nor a certificate")


def ended(settings: Configuration) -> datetime | None:
    """When the credentials in hand ended, if that can be told from them and they have."""
    token = str(settings.api_key.get("BearerToken") or settings.api_key.get("authorization") or "")
    end = _end_of_token(token.removeprefix("Bearer ")) or _end_of_certificate(settings.cert_file)
    return end if end is not None and end < datetime.now(UTC) else None


def _end_of_token(token: str) -> datetime | None:
    """That of a JSON Web Token, as service accounts have; others tell nothing."""
    with suppress(ValueError, IndexError, KeyError, TypeError):
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    return None


def _end_of_certificate(path: str | None) -> datetime | None:
    if not path:
        return None
    with suppress(ImportError, OSError, ValueError):  # it comes with the SDKs of clouds, and is in our images
        x509 = import_module("cryptography.x509")
        end: datetime = x509.load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc
        return end
    return None
