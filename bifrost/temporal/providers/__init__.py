"""Data providers: run, kept for everybody, and held to."""
