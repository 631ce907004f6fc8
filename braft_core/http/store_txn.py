"""``/v1/store/txn``: several operations in one revision, if conditions hold."""

from __future__ import annotations

from typing import Any, Final

from falcon.asgi import Request, Response

from braft_core.abc import NodeAPI
from braft_core.http.json_body import parse_json, read_body, send_json
from braft_core.http.operation import (
    JSON,
    TIMEOUT,
    Operation,
    RequestBody,
    ResponseSpec,
    Schema,
    array,
    documented,
    integer,
    obj,
    text,
)
from braft_core.http.params import timeout_param
from braft_core.http.server_loop import run_in_thread
from braft_core.http.store import NO_SPACE
from braft_core.store.conditions import SIGNS, TARGETS
from braft_core.store.json_form import answer_json, read_txn

__all__ = ["TxnResource"]

#: Larger bodies and answers are decoded and made in a thread.
_QUICK_BYTES: Final = 16 << 10
_QUICK_RECORDS: Final = 200

_BASE64: Final = {"contentEncoding": "base64"}
_SPAN: Final[dict[str, Schema]] = {
    "key": text("this key alone", **_BASE64),
    "prefix": text("keys that begin with it", **_BASE64),
    "start": text("the first key of a range", **_BASE64),
    "end": text("the key behind the last one of a range", **_BASE64),
}
_ANY_SPAN: Final = ("key", "prefix", "start", "end")
_COMPARE: Final = obj(
    {
        **_SPAN,
        "target": text(enum=list(TARGETS)),
        "result": text(enum=list(SIGNS)),
        "value": {"description": "base64 for a value, decimal text for a lease, else a number"},
    },
    _ANY_SPAN,
)
_OPERATION: Final = obj(
    {
        "op": text(enum=["get", "put", "delete", "txn"]),
        **_SPAN,
        "value": text("of a put", **_BASE64),
        "lease": text("of a put: id of a lease, decimal"),
        "limit": integer("of a get: the most entries, 0 for no limit"),
        "when": array({"type": "object"}, "of a nested transaction"),
        "then": array({"type": "object"}, "of a nested transaction"),
        "otherwise": array({"type": "object"}, "of a nested transaction"),
    },
    (*_ANY_SPAN, "value", "lease", "limit", "when", "then", "otherwise"),
)
_ANSWER: Final = obj(
    {
        "revision": integer("of the store"),
        "succeeded": {"type": "boolean", "description": "whether all conditions held"},
        "answers": array(
            {"type": "object"},
            "of a put `revision`, of a delete `revision` and `deleted`, of a get `revision`, "
            "`count`, `more` and `entries`, of a txn what this object has; and `op`",
        ),
    }
)


class TxnResource:
    """Transactions."""

    def __init__(self, node: NodeAPI) -> None:
        self._node = node

    @documented(
        Operation(
            "Do `then` if all conditions of `when` hold, else `otherwise`, in one revision.",
            {200: ResponseSpec("what was done", {JSON: _ANSWER})},
            query=(TIMEOUT,),
            body=RequestBody(
                {
                    JSON: obj(
                        {
                            "when": array(_COMPARE),
                            "then": array(_OPERATION),
                            "otherwise": array(_OPERATION),
                        },
                        ("when", "then", "otherwise"),
                    )
                },
                "the transaction; keys and values are base64",
            ),
            problems={
                404: "there is no such lease",
                422: "the answer would have too many records",
            }
            | NO_SPACE,
        )
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Run the transaction; answer ``{"revision", "succeeded", "answers"}``."""
        body, timeout = await read_body(req), timeout_param(req)
        if len(body) <= _QUICK_BYTES:
            arguments = _read(body)
        else:
            arguments = await run_in_thread(_read, body)
        answer = await self._node.aexecute("store", "txn", *arguments, timeout=timeout)
        _, then, otherwise = arguments
        if _records(answer) <= _QUICK_RECORDS:
            shown = answer_json(then, otherwise, answer)
        else:
            shown = await run_in_thread(answer_json, then, otherwise, answer)
        await send_json(resp, shown)


def _read(body: bytes) -> list[list[Any]]:
    return read_txn(parse_json(body))


def _records(answer: Any) -> int:
    """Return about how many records an answer has."""
    return sum(
        len(each[3]) if len(each) > 3 else _records(each) if isinstance(each[1], bool) else 1
        for each in answer[2]
    )
