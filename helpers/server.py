"""A Jupyter server that answers a dragged widget at once, and asks nothing of the network; installed with the project.

`jupyter/` beside this file goes to `etc/jupyter` of the environment: it loads this extension, and turns JupyterLab's
news and update checks off.
"""

from __future__ import annotations

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class Prompt(ZMQChannelsWebsocketConnection):
    """Kernel messages without Nagle's algorithm, which holds small ones back until the last was acknowledged."""

    def connect(self):
        self.websocket_handler.set_nodelay(True)
        return super().connect()


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": "helpers.server"}]


def _load_jupyter_server_extension(app) -> None:
    app.web_app.settings["kernel_websocket_connection_class"] = Prompt
