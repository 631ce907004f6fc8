"""The few questions asked of the Kubernetes API, with the official client. Blocking.

Owns the connection and turns the client's objects and errors into ours. Must be used from one
thread at a time, never from the loop. The client is imported when the connection is made: that
takes half a second, which a node that uses another discovery must not pay.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from braft_core.errors import Unreachable
from braft_k8s.options import K8sOptions
from braft_k8s.pods import Pod, selector_text

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration, CoreV1Api

__all__ = ["KubeApi", "socket_of"]

_RBAC = "; the service account needs the verbs list and watch on services and pods"
#: How long, in seconds, the server is asked to keep a watch open.
_WATCH_SECONDS = 240


class KubeApi:
    """A connection to the API server."""

    def __init__(self, client: ApiClient, api: CoreV1Api, namespace: str, timeout: float) -> None:
        """Use :meth:`connect`."""
        self.namespace = namespace
        self._client = client
        self._api = api
        # To connect and between two pieces of the answer: without it a half-dead API server
        # would hold the thread for ever.
        self._timeout = (timeout, timeout)

    @classmethod
    def connect(cls, options: K8sOptions, environ: Mapping[str, str]) -> KubeApi:
        """Read the pod's service account or a kubeconfig; nothing is sent yet.

        :raises Unreachable: there is neither, or it cannot be read.
        """
        from kubernetes.client import ApiClient, Configuration, CoreV1Api
        from kubernetes.config import ConfigException

        configuration = Configuration()
        # urllib3 would try three times more with the full timeout; the next look comes anyway.
        configuration.retries = 0
        try:
            namespace = _configure(configuration, options, environ)
        except (ConfigException, OSError, ValueError) as error:
            raise Unreachable(f"k8s: no access to a cluster: {error}", sent=False) from error
        except Exception as error:
            # A kubeconfig that is half written makes its reader fail in many ways. What it says
            # may quote the file, where there are secrets.
            what = f"the kubeconfig cannot be read ({type(error).__name__})"
            raise Unreachable(f"k8s: no access to a cluster: {what}", sent=False) from error
        client = ApiClient(configuration)
        return cls(client, CoreV1Api(client), namespace, options.request_timeout)

    def selectors(self, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """The pod selectors of the services with these labels.

        A service without a selector has no pods of its own.

        :raises Unreachable: the API did not answer, or refused.
        """
        services = self._list(self._api.list_namespaced_service, labels)
        selectors = [service.get("spec", {}).get("selector") for service in services]
        return [selector for selector in selectors if selector]

    def pods(self, selector: Mapping[str, str]) -> list[Pod]:
        """The pods that a selector picks. :raises Unreachable: as above."""
        return [_pod(pod) for pod in self._list(self._api.list_namespaced_pod, selector)]

    @contextmanager
    def watch(self, kind: str, labels: Mapping[str, str]) -> Iterator[urllib3.HTTPResponse]:
        """An open watch of ``services`` or ``pods``; it begins with what there is.

        The server ends it after some minutes, and so do we if it does not.

        :raises Unreachable: as above.
        """
        list_them = getattr(self._api, f"list_namespaced_{kind.removesuffix('s')}")
        with _told_as_unreachable():
            stream = list_them(
                self.namespace,
                watch=True,
                label_selector=selector_text(labels),
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=self._timeout,
                _preload_content=False,
            )
            try:
                # The answer has begun; from now on the API may have nothing to say for long.
                sock = socket_of(stream)
                if sock is not None:
                    sock.settimeout(_WATCH_SECONDS + 2 * self._timeout[1])
                yield stream
            finally:
                stream.close()

    @staticmethod
    def chunks(stream: urllib3.HTTPResponse) -> Iterator[bytes]:
        """What arrives, as it arrives, until the end. :raises Unreachable: it broke."""
        with _told_as_unreachable():
            yield from stream.stream(amt=65536, decode_content=False)

    def close(self) -> None:
        """End the connections."""
        self._client.rest_client.pool_manager.clear()

    def _list(self, call: Callable[..., Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The listed objects as the API's JSON: the client's classes change their attributes."""
        with _told_as_unreachable():
            answer = call(
                self.namespace,
                label_selector=selector_text(labels),
                _request_timeout=self._timeout,
            )
            plain = self._client.sanitize_for_serialization  # not annotated there
            items: list[dict[str, Any]] = plain(answer.items)  # type: ignore[no-untyped-call]
            return items


def socket_of(stream: Any) -> socket.socket | None:
    """The socket under a stream, ``None`` where it has gone back or cannot be found."""
    connection = getattr(stream, "connection", None) or getattr(stream, "_connection", None)
    found: socket.socket | None = getattr(connection, "sock", None)
    return found


@contextmanager
def _told_as_unreachable() -> Iterator[None]:
    from kubernetes.client import ApiException
    from kubernetes.config import ConfigException

    try:
        yield
    except ApiException as error:
        hint = _RBAC if error.status in (401, 403) else ""
        raise Unreachable(
            f"k8s: the API answered {error.status} {error.reason}{hint}", status=error.status
        ) from error
    # ValueError: an answer that is not what the API promises. ConfigException: every request may
    # read the credentials again, and they may be being replaced at that moment.
    except (urllib3.exceptions.HTTPError, OSError, ValueError, ConfigException) as error:
        raise Unreachable(f"k8s: the API cannot be asked: {error}") from error


def _configure(
    configuration: Configuration, options: K8sOptions, environ: Mapping[str, str]
) -> str:
    """Fill in the client's configuration; returns the namespace to use."""
    if not options.kubeconfig and environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(configuration, options, environ)
    return _kubeconfig(configuration, options, environ)


def _in_cluster(
    configuration: Configuration, options: K8sOptions, environ: Mapping[str, str]
) -> str:
    from kubernetes.config.incluster_config import InClusterConfigLoader

    account = Path(options.service_account)
    loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]  # not annotated there
        token_filename=str(account / "token"),
        cert_filename=str(account / "ca.crt"),
        environ=environ,
    )
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    return options.namespace or (account / "namespace").read_text(encoding="utf-8").strip()


def _kubeconfig(
    configuration: Configuration, options: K8sOptions, environ: Mapping[str, str]
) -> str:
    from kubernetes.config import list_kube_config_contexts, load_kube_config

    # The client reads os.environ by itself; a node's environment is what it was given.
    home = Path(environ.get("HOME") or Path.home())
    file = options.kubeconfig or environ.get("KUBECONFIG") or str(home / ".kube" / "config")
    load_kube_config(  # type: ignore[no-untyped-call]
        config_file=file,
        context=options.context or None,
        client_configuration=configuration,
        persist_config=False,
    )
    if options.namespace:
        return options.namespace
    contexts, active = list_kube_config_contexts(  # type: ignore[no-untyped-call]
        config_file=file
    )
    chosen = next((c for c in contexts if c["name"] == options.context), active)
    return str(chosen["context"].get("namespace") or "default")


def _pod(pod: Mapping[str, Any]) -> Pod:
    metadata, status = pod.get("metadata", {}), pod.get("status", {})
    listed = [item.get("ip") for item in status.get("podIPs") or []]
    containers = pod.get("spec", {}).get("containers") or []
    return Pod(
        name=metadata.get("name", ""),
        addresses=tuple(dict.fromkeys(filter(None, [status.get("podIP"), *listed]))),
        phase=status.get("phase", ""),
        terminating=metadata.get("deletionTimestamp") is not None,
        ports={
            port["name"]: port["containerPort"]
            for container in containers
            for port in container.get("ports") or []
            if port.get("name")
        },
    )
