"""Requests that another site's page makes a browser send are refused, and those for other names than the server's."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mirl.serve.answers import RESTORE, refused
from mirl.serve.hosts import Hosts
from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal

OWN_SITES = ("same-origin", "none")
"""Of Sec-Fetch-Site: the server's own page asks, or a person who typed the address."""


class Guard:
    """Middleware, before everything else that is done for a request.

    Browsers say whose page asks: Sec-Fetch-Site (where they trust the connection) and Origin (with every POST, and with
    fetches across origins). What carries neither was sent by no page, or costs and tells nothing.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, metrics: Metrics) -> None:
        self._app, self._hosts, self._metrics = app, hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            try:
                self._refuse(scope["method"], Headers(scope=scope))
            except Refusal as refusal:
                if scope["path"] == RESTORE:
                    self._metrics.count(refusal.outcome)
                app = refused(refusal)
        await app(scope, receive, send)

    def _refuse(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")  # one at most, h11 sees to that
        if not self._hosts.knows(host):
            raise Refusal(
                "misdirected",
                f"this server does not go by the name {host[:100]!r}; ask for it as localhost or by its address, "
                "or start it with --allow-host NAME",
            )
        sites = headers.getlist("sec-fetch-site")
        cross_site = any(site not in OWN_SITES for site in sites) and not _link_followed(method, headers)
        if cross_site or any(not self._hosts.own(origin, host) for origin in headers.getlist("origin")):
            raise Refusal(
                "foreign",
                "a page of another origin asked; only the server's own page may (behind a proxy, start it with "
                "--allow-host and the name that is in the page's address)",
            )


def _link_followed(method: str, headers: Headers) -> bool:
    """Whether a person comes from a page of another site; that page learns nothing of it."""
    whole_window = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return method in ("GET", "HEAD") and whole_window
