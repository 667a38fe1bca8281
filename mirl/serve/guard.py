"""Protection against requests that another site's page makes a browser send, or that ask for another host name."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mirl.serve.answers import RESTORE, refused
from mirl.serve.hosts import Hosts
from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal

OWN_SITES = ("same-origin", "none")
"""Values of Sec-Fetch-Site if the server's own page sends the request, or a person typed the address."""


class Guard:
    """Middleware that refuses such requests before anything else is done for them.

    Browsers say whose page sends a request: Sec-Fetch-Site (if they trust the connection) and Origin (with every POST,
    and with fetches across origins). A request with neither was not sent by a page, or costs and reveals nothing.
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
    """Return whether a person followed a link from a page of another site, which learns nothing from that."""
    whole_window = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return method in ("GET", "HEAD") and whole_window
