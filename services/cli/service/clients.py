"""Whom a command asks: a service, or the sweeps of this home."""

from typing import TYPE_CHECKING

from services.cli.options import settings_of
from services.errors import OperationError

if TYPE_CHECKING:
    from services.client.client import Client
    from services.server.home import Home


def sweeps_of(server: str | None) -> "Client | Home":
    """The client of a service, or without a server the sweeps of this home; both have the same verbs.

    Raises:
        OperationError: there is no token for the service.
    """
    if server:
        return client_of(server)
    from services.server.home import Home

    return Home(settings_of())


def client_of(server: str | None) -> "Client":
    """The client of a service, with the token of ABEL_TOKEN, else of this ABEL_HOME's own service.

    Raises:
        OperationError: there is no server or no token.
    """
    from services.client.client import Client

    if not server:
        rule = "must be the address of a service (`abel serve` starts one), got none"
        raise OperationError(f"--server or ABEL_SERVER: {rule}; `abel run` needs none")
    settings = settings_of()
    token = settings.token
    if token is None:
        from services.api.loopback import is_loopback
        from sweeps import urls

        try:  # the home's own token may do everything there, so no other machine gets to see it
            token = (
                (settings.home / "token").read_text().strip() if is_loopback(urls.parse(server).host or "") else None
            )
        except OSError:
            token = None
        if token is None:
            rule = f"must be a token of {server} (`abel token create OWNER` makes one there), got none"
            raise OperationError(f"ABEL_TOKEN: {rule}")
    return Client(server, token)
