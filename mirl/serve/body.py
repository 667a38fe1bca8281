"""A request's body, read within limits; and whether anybody still waits for the answer."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from mirl.serve.limits import Limits
from mirl.serve.refusal import Refusal

T = TypeVar("T")


async def read(request: Request, limits: Limits) -> bytes:
    """The whole body; Refusal once it is, or says that it will be, too large, and where it comes too slowly."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.bytes:
        raise too_large(limits)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.bytes:  # whatever was said
                    raise too_large(limits)
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(
            "slow", f"the picture did not arrive within {limits.seconds:g} s; send it again"
        ) from None
    except ClientDisconnect:
        raise Refusal("gone", "the client has gone") from None
    if not size:
        raise Refusal("empty", "the request has no body; send the bytes of a picture")
    return b"".join(chunks)


def too_large(limits: Limits) -> Refusal:
    return Refusal("too_large", f"the picture has over {limits.bytes / 2**20:g} MiB; make its file smaller")


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """What `work` gives; it is cancelled, and Refusal raised, once the client has closed the connection."""
    answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Refusal("gone", "the client has gone")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
