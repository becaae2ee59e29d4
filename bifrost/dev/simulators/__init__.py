"""Simulators: real HTTP servers that speak vendors' wire formats.

Every simulator keeps a journal of the calls it received (`journal`) and fails on demand (`faults`); both are served over
HTTP, so that a test can look at, and disturb, a simulator in another process (`control`). `server` runs them.
"""
