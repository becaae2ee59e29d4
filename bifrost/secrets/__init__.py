"""Secrets: the port in `base`, its adapters beside it."""
