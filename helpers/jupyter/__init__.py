"""The course's settings of its own Jupyter server."""
