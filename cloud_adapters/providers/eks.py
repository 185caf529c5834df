"""Clusters of Amazon EKS, opened with the ambient identity of AWS: no key is kept.

The token is what `aws eks get-token` makes: a presigned GetCallerIdentity that names the cluster in a signed header.
Source: https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.signers import RequestSigner

from cloud_adapters.access import Endpoint, Renewed
from cloud_adapters.compute_errors import BadReference, ComputeDenied, ComputeUnavailable
from orchestrator.domain.pods import ClusterRef

_URL_SECONDS = 60  # the signature's own life; the token is good for 15 minutes
_TOKEN_SECONDS = 14 * 60.0
_HINT = "The launcher needs eks:DescribeCluster, and an access entry of the cluster for its role."


def find(ref: ClusterRef) -> Endpoint:
    """Ask EKS where a cluster is. Raises BadReference, ComputeDenied and ComputeUnavailable."""
    name, region = ref.cluster or "", ref.region or ""
    with _told(name, region):
        session = boto3.Session(region_name=region)
        cluster = session.client("eks").describe_cluster(name=name)["cluster"]
    if "endpoint" not in cluster:
        raise BadReference(f"EKS cluster {name} has no endpoint yet; it is {cluster.get('status')}.")
    return Endpoint(
        server=cluster["endpoint"],
        ca=cluster["certificateAuthority"]["data"],
        token=Renewed(lambda: (_token(session, name, region), time.time() + _TOKEN_SECONDS)),
    )


@contextmanager
def _told(name: str, region: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _refusal(name, region, error) from error
    except BotoCoreError as error:
        raise ComputeUnavailable(f"EKS in {region} cannot be asked: {error}.", hint=_HINT) from error


def _refusal(name: str, region: str, error: ClientError) -> BadReference | ComputeDenied:
    if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
        return BadReference(f"EKS has no cluster {name} in {region}.", hint="`aws eks list-clusters` shows them.")
    return ComputeDenied(f"EKS in {region} refuses: {error}", hint=_HINT)


def _token(session: Any, name: str, region: str) -> str:
    with _told(name, region):
        client = session.client("sts", region_name=region)
        signer = RequestSigner(
            client.meta.service_model.service_id, region, "sts", "v4", session.get_credentials(), session.events
        )
        request = {
            "method": "GET",
            "url": f"https://sts.{region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": name},
            "context": {},
        }
        url = signer.generate_presigned_url(request, region_name=region, expires_in=_URL_SECONDS, operation_name="")
    return f"k8s-aws-v1.{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}"
