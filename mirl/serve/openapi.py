"""Description of POST /restore in /openapi.json, which FastAPI cannot derive as the body is not JSON."""

from http import HTTPStatus
from typing import Any

from mirl.serve.formats import MEDIA_TYPES
from mirl.serve.refusal import RESTORED, STATUS

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_PICTURE = dict.fromkeys(MEDIA_TYPES.values(), _BYTES)
_REFUSAL = {
    "application/json": {
        "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    }
}


def _header(description: str, type: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": type}}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": _REFUSAL}
    for outcome, status in STATUS.items()
    if outcome not in (RESTORED, "gone", "wrong_method")
}
_RESPONSES[200] = {
    "description": "The restored picture",
    "content": _PICTURE,
    "headers": {
        "X-Mirl-Ticket": _header("Name of the ticket, percent-encoded", "string"),
        "X-Mirl-Density": _header("Kept fraction of its prunable weights", "number"),
        "X-Mirl-Seconds": _header("Time to decode, restore and encode", "number"),
    },
}

RESTORE: dict[str, Any] = {
    "responses": _RESPONSES,
    "openapi_extra": {"requestBody": {"required": True, "content": _PICTURE}},
}
"""Arguments of the route POST /restore."""
