"""Organizations and their configuration: the port in `base`, its adapters beside it."""
