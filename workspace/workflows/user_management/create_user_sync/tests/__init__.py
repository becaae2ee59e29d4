"""Tests of this workflow."""
