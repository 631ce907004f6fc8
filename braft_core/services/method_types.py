"""How type checkers see the marked methods of a service, on a handle of ``node.service(...)``.

``counter.add(5)`` has the parameters and the result of the method ``add``. The same object has
``acall`` for ``await``, and ``with_options`` for a timeout or a consistency. A leading
``CommandContext`` is not a parameter of the call: the state machine passes it.

These are types only. At runtime a marked method stays a plain function, and the calls are
:class:`braft_core.handles.BoundCall`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

from braft_core.abc.service import CommandContext
from braft_core.cluster_types import Consistency

__all__ = [
    "CommandCall",
    "CommandMarker",
    "CommandMethod",
    "ContextCommandCall",
    "ContextCommandMethod",
    "QueryCall",
    "QueryMarker",
    "QueryMethod",
    "TakesContext",
]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class CommandCall(Protocol[P, R_co]):
    """A command of a service on a node."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Replicate the command and return its answer, as :meth:`braft_core.Node.execute`."""

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it asynchronously."""

    def with_options(self, *, timeout: float | None = None) -> CommandCall[P, R_co]:
        """Return the same command with a timeout in seconds."""


class ContextCommandCall(Protocol[P, R_co]):
    """A command whose method takes a ``CommandContext``, which the state machine passes."""

    # Without a context on a handle, with one within the service.
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, context: CommandContext, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it asynchronously."""

    def with_options(self, *, timeout: float | None = None) -> CommandCall[P, R_co]:
        """Return the same command with a timeout in seconds."""


class QueryCall(Protocol[P, R_co]):
    """A query of a service on a node."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the answer, as :meth:`braft_core.Node.query`."""

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it asynchronously."""

    def with_options(
        self,
        *,
        timeout: float | None = None,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
    ) -> QueryCall[P, R_co]:
        """Return the same query with other options, see :meth:`braft_core.Node.query`."""


class CommandMethod(Protocol[P, R_co]):
    """A method marked ``@command``."""

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any], /) -> CommandCall[P, R_co]: ...
    def __get__(self, instance: object, owner: type[Any], /) -> Any:
        """Bind the method."""

    def __call__(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the method of a service."""


class ContextCommandMethod(Protocol[P, R_co]):
    """A method marked ``@command`` that takes a ``CommandContext``."""

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any], /) -> ContextCommandCall[P, R_co]: ...
    def __get__(self, instance: object, owner: type[Any], /) -> Any:
        """Bind the method."""

    def __call__(
        self, instance: Any, context: CommandContext, /, *args: P.args, **kwargs: P.kwargs
    ) -> R_co:
        """Run the method of a service."""


class QueryMethod(Protocol[P, R_co]):
    """A method marked ``@query``."""

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any], /) -> QueryCall[P, R_co]: ...
    def __get__(self, instance: object, owner: type[Any], /) -> Any:
        """Bind the method."""

    def __call__(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the method of a service."""


class TakesContext(Protocol[P, R_co]):
    """A method whose first parameter is ``context: CommandContext``.

    The name tells it apart from a first parameter annotated ``Any``.
    """

    def __call__(
        self, instance: Any, /, context: CommandContext, *args: P.args, **kwargs: P.kwargs
    ) -> R_co:
        """Run the method."""


class CommandMarker(Protocol):
    """What ``@command(...)`` with arguments returns."""

    @overload
    def __call__(self, method: TakesContext[P, R], /) -> ContextCommandMethod[P, R]: ...
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> CommandMethod[P, R]: ...
    def __call__(self, method: Callable[..., Any], /) -> Any:
        """Mark the method."""


class QueryMarker(Protocol):
    """What ``@query(...)`` with arguments returns."""

    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> QueryMethod[P, R]:
        """Mark the method."""
