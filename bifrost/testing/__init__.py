"""The test kit: what a workspace's own tests may rely on.

`plugin` is loaded by pytest by itself, wherever Bifrost is installed.
"""

__all__: list[str] = []
