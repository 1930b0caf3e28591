"""A Jupyter server that answers a dragged widget at once, and whose notebooks are as they were when they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.utils import ensure_async

STYLE = Path(__file__).with_name("style")  # custom.css: pictures in the dark theme


class NoDelayWebSocket(ZMQChannelsWebsocketConnection):
    """Kernel messages without Nagle's algorithm, which holds small ones back until the last was acknowledged."""

    def connect(self) -> Any:
        """Open the socket with TCP_NODELAY set."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "helpers.jupyter.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    settings = app.web_app.settings
    settings["kernel_websocket_connection_class"] = NoDelayWebSocket
    settings["static_custom_path"].insert(1, str(STYLE))  # behind the user's own folder
    _name_the_kernel(app.contents_manager, app.kernel_spec_manager)


def _name_the_kernel(contents: Any, specs: Any) -> None:
    """Let a notebook come with this machine's kernel in its metadata, as JupyterLab would write it in there.

    Else opening one changes it, and closing it asks whether to save.
    """
    read = contents.get

    async def get(path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        model: dict[str, Any] = await ensure_async(read(path, *args, **kwargs))
        notebook = model.get("content")
        if model["type"] == "notebook" and notebook and "kernelspec" in notebook["metadata"]:
            metadata = notebook["metadata"]
            try:
                spec = specs.get_kernel_spec(metadata["kernelspec"]["name"])
            except NoSuchKernel:
                return model
            metadata["kernelspec"] |= {"display_name": spec.display_name, "language": spec.language}
            if spec.language == "python":
                from ipykernel.ipkernel import IPythonKernel  # here: it takes the comms of widgets in this process over

                metadata["language_info"] = IPythonKernel.language_info
        return model

    contents.get = get
