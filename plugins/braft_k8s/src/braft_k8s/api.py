"""The requests to the Kubernetes API, through the official client. Blocking.

Owns the connection, and converts the client's objects and errors. Use it from one thread at a time,
never on the loop. The connection imports the client, which takes half a second; nodes with another
discovery must not pay for it.
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
#: How long the server keeps a watch open, in seconds.
_WATCH_SECONDS = 240


class KubeApi:
    """A connection to the API server."""

    def __init__(self, client: ApiClient, api: CoreV1Api, namespace: str, timeout: float) -> None:
        """Use :meth:`connect` instead."""
        self.namespace = namespace
        self._client = client
        self._api = api
        # Timeouts to connect and to read a chunk: without them an unresponsive API server would
        # block the thread forever.
        self._timeout = (timeout, timeout)

    @classmethod
    def connect(cls, options: K8sOptions, environ: Mapping[str, str]) -> KubeApi:
        """Read the pod's service account or a kubeconfig; send nothing yet.

        :raises Unreachable: neither exists, or it cannot be read.
        """
        from kubernetes.client import ApiClient, Configuration, CoreV1Api
        from kubernetes.config import ConfigException

        configuration = Configuration()
        # urllib3 would retry three times with the full timeout; the next poll comes anyway.
        configuration.retries = 0
        try:
            namespace = _configure(configuration, options, environ)
        except (ConfigException, OSError, ValueError) as error:
            raise Unreachable(f"k8s: no access to a cluster: {error}", sent=False) from error
        except Exception as error:
            # A partly written kubeconfig can raise anything. The message may quote the file, which
            # contains secrets.
            what = f"the kubeconfig cannot be read ({type(error).__name__})"
            raise Unreachable(f"k8s: no access to a cluster: {what}", sent=False) from error
        client = ApiClient(configuration)
        return cls(client, CoreV1Api(client), namespace, options.request_timeout)

    def selectors(self, labels: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the pod selectors of the services with these labels.

        Leaves out services without a selector, which have no pods.

        :raises Unreachable: the API did not answer, or answered with an error.
        """
        services = self._list(self._api.list_namespaced_service, labels)
        selectors = [service.get("spec", {}).get("selector") for service in services]
        return [selector for selector in selectors if selector]

    def pods(self, selector: Mapping[str, str]) -> list[Pod]:
        """Return the pods that a selector matches. :raises Unreachable: as above."""
        return [_pod(pod) for pod in self._list(self._api.list_namespaced_pod, selector)]

    @contextmanager
    def watch(self, kind: str, labels: Mapping[str, str]) -> Iterator[urllib3.HTTPResponse]:
        """Open a watch of ``services`` or ``pods``; it begins with the existing objects.

        The server closes it after some minutes; if it does not, we do.

        :raises Unreachable: as above.
        """
        list_them = getattr(self._api, f"list_namespaced_{kind.removesuffix('s')}")
        with _as_unreachable():
            stream = list_them(
                self.namespace,
                watch=True,
                label_selector=selector_text(labels),
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=self._timeout,
                _preload_content=False,
            )
            try:
                # The response has begun; from now on the API may send nothing for minutes.
                sock = socket_of(stream)
                if sock is not None:
                    sock.settimeout(_WATCH_SECONDS + 2 * self._timeout[1])
                yield stream
            finally:
                stream.close()

    @staticmethod
    def chunks(stream: urllib3.HTTPResponse) -> Iterator[bytes]:
        """Yield the data of a watch as it arrives. :raises Unreachable: the connection broke."""
        with _as_unreachable():
            yield from stream.stream(amt=65536, decode_content=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.pool_manager.clear()

    def _list(self, call: Callable[..., Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the listed objects as JSON: the client's classes rename attributes."""
        with _as_unreachable():
            answer = call(
                self.namespace,
                label_selector=selector_text(labels),
                _request_timeout=self._timeout,
            )
            plain = self._client.sanitize_for_serialization  # not annotated there
            items: list[dict[str, Any]] = plain(answer.items)  # type: ignore[no-untyped-call]
            return items


def socket_of(stream: Any) -> socket.socket | None:
    """Return the socket of a stream, ``None`` if it was released or cannot be found."""
    connection = getattr(stream, "connection", None) or getattr(stream, "_connection", None)
    found: socket.socket | None = getattr(connection, "sock", None)
    return found


@contextmanager
def _as_unreachable() -> Iterator[None]:
    from kubernetes.client import ApiException
    from kubernetes.config import ConfigException

    try:
        yield
    except ApiException as error:
        hint = _RBAC if error.status in (401, 403) else ""
        raise Unreachable(
            f"k8s: the API answered {error.status} {error.reason}{hint}", status=error.status
        ) from error
    # ValueError: the answer is malformed. ConfigException: a request may read the credentials
    # again, while they are being replaced.
    except (urllib3.exceptions.HTTPError, OSError, ValueError, ConfigException) as error:
        raise Unreachable(f"k8s: the request to the API failed: {error}") from error


def _configure(
    configuration: Configuration, options: K8sOptions, environ: Mapping[str, str]
) -> str:
    """Fill in the client's configuration; return the namespace to use."""
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

    # The client would read os.environ, but the node's environment is a parameter.
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
