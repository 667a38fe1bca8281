"""Strict HTTP/1.1. h11 accepts forms that a proxy may read otherwise, so that one request could hide in another."""

import re

import h11
from h11._receivebuffer import ReceiveBuffer

MOST_HEAD_BYTES = 16 * 2**10
"""Largest size in bytes of a request line with its headers, and of the trailer after a chunked body."""
_FORGIVEN = re.compile(rb"(?<!\r)\n|\r[^\n]|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Forms in a head that h11 accepts: line ends other than CRLF, continued lines, control characters."""
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}\r\n")
"""Line before a chunk: the size, and nothing else."""
FREE_CHUNKS, CHUNK_BYTES = 1000, 1024
"""Number of chunks of any size, and average bytes of a chunk after that: a chunk costs more than its bytes."""


class StrictConnection(h11.Connection):
    """Server side of a connection. Raises h11.RemoteProtocolError for every form that can be read in two ways."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        assert type(self._receive_buffer) is ReceiveBuffer, "h11 keeps what it received elsewhere"
        self._receive_buffer = _Lines()

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            chunked = b"transfer-encoding" in names
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("expected HTTP/1.0 or HTTP/1.1")
            if not event.target.startswith(b"/"):
                raise h11.RemoteProtocolError("expected a path to be asked for")
            if chunked and (b"content-length" in names or event.http_version == b"1.0"):
                raise h11.RemoteProtocolError("expected one way of telling where the body ends")
        return event


class _Lines(ReceiveBuffer):
    """Buffer of received bytes, from which h11 takes lines. Raises h11.LocalProtocolError for a forgiven form."""

    _looked = 0
    """Number of bytes of the next head that were checked without a finding."""
    _chunks = 0
    _chunked_bytes = 0

    def maybe_extract_lines(self) -> list[bytearray] | None:
        self._chunks = self._chunked_bytes = 0  # a head begins, or a body has ended
        if self._data[:2] == b"\r\n":
            return super().maybe_extract_lines()
        start = max(0, self._looked - 3)
        found = self._data.find(b"\r\n\r\n", start)
        end = len(self._data) if found < 0 else found + 4
        if end > MOST_HEAD_BYTES or _FORGIVEN.search(self._data, start, end):
            raise h11.LocalProtocolError(
                "expected lines of visible characters that end in CRLF, and not too many"
            )
        self._looked = end
        return super().maybe_extract_lines()

    def maybe_extract_next_line(self) -> bytearray | None:
        line = super().maybe_extract_next_line()
        if line is not None and not _CHUNK.fullmatch(line):
            raise h11.LocalProtocolError("expected the size of a chunk alone")
        if line is not None:
            self._chunks += 1
            self._chunked_bytes += int(line, 16)
            if self._chunks > FREE_CHUNKS + self._chunked_bytes // CHUNK_BYTES:
                raise h11.LocalProtocolError("expected larger chunks")
        return line

    def _extract(self, count: int) -> bytearray:
        self._looked = 0
        return super()._extract(count)
