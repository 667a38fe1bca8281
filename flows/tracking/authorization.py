"""Authorization at MLflow's server, beside its own permissions: only administrators make experiments.

An experiment says where its files are kept, and the server writes there as its own user: anywhere on its disk, also
among the files of others. MLflow's configuration names `authorize` as `authorization_function`.
"""

from flask import Response, request
from mlflow.server import auth
from werkzeug.datastructures import Authorization

_MAKES_EXPERIMENTS = ("/experiments/create", "/demo/generate")


def authorize() -> Authorization | Response:
    """Return the login of a request by MLflow's basic authentication, or an answer with 401 or 403 if it is refused."""
    known = auth.authenticate_request_basic_auth()
    if isinstance(known, Response) or not any(place in request.path for place in _MAKES_EXPERIMENTS):
        return known
    return known if auth.store.get_user(str(known.username)).is_admin else auth.make_forbidden_response()
