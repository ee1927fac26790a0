"""Keeps pages of other origins away from the local cloud, and signs its tokens with a key of its own.

moto signs with a key that is published with its source, so anybody could make a token of an administrator. And it
answers every page that is open in a browser on the same machine, without asking for a signature as AWS does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey
from moto.cognitoidp.models import CognitoIdpUserPool
from moto.cognitoidp.responses import CognitoIdpJsonWebKeyResponse

from infra.local.processes import write_json

_KEY_ID = "dummy"
"""The name that moto writes into its tokens."""

_LOOPBACK = ("127.0.0.1", "localhost")

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


def use_own_key(path: Path | None) -> None:
    """Sign all tokens of this process with the key of a file, which is made if it is missing; None keeps nothing."""
    if path is not None and path.exists():
        key = RSAKey.import_key(json.loads(path.read_text()))
    else:
        key = RSAKey.generate_key(2048)
        if path is not None:
            write_json(path, key.as_dict(private=True))
    public = {**key.as_dict(private=False), "kid": _KEY_ID, "alg": "RS256", "use": "sig"}
    CognitoIdpJsonWebKeyResponse.json_web_key = json.dumps({"keys": [public]}).encode()
    # moto sets an attribute of each pool to its own key.
    CognitoIdpUserPool.json_web_key = property(lambda _: key, lambda _pool, _ignored: None)


def refuse_browsers(app: WsgiApp) -> WsgiApp:
    """Return an app that answers 403 to every page: browsers name its origin, or another host than this machine."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rpartition(":")[0]
        if "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ or host not in _LOOPBACK:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        return app(environ, start_response)

    return answer
