"""Temporal Schedules: what there should be, and how it comes to be."""
