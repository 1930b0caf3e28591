"""A Jupyter server that answers a dragged widget at once and asks nothing of the network."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class NoDelayWebSocket(ZMQChannelsWebsocketConnection):
    """Kernel messages without Nagle's algorithm, which holds small ones back until the last was acknowledged."""

    def connect(self) -> Any:
        """Open the socket with TCP_NODELAY set."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "helpers.jupyter.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    app.web_app.settings["kernel_websocket_connection_class"] = NoDelayWebSocket
