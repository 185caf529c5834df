"""Our signature is the one that botocore makes of the same request."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from cloud_adapters.signature import signed

NOW = datetime(2026, 11, 21, 17, 0, 5, tzinfo=UTC)
REQUESTS = [
    ("GET", "/bucket/a/b", {}),
    ("GET", "/bucket/with%20space/%C3%BC~", {"Range": "bytes=5-99", "If-Match": '"an etag"'}),
    ("PUT", "/key", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==", "If-None-Match": "*"}),
    ("PUT", "/bucket/key?uploadId=a%2Fb&partNumber=7", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
]


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(("method", "target", "headers"), REQUESTS)
def test_it_is_botocores(
    method: str, target: str, headers: dict[str, str], token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW)
    request = AWSRequest(method=method, url=f"http://store.example:9000{target}", headers=dict(headers))
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    auth.S3SigV4Auth(keys, "s3", "eu-west-1").add_auth(request)
    ours = signed(method, "store.example:9000", target, headers, keys=keys, region="eu-west-1", now=NOW)
    assert ours == dict(request.headers.items())
