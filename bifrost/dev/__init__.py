"""Bifrost on one machine: the embedded servers, simulators of vendors' APIs, and the demo."""
