"""Integrations: clients of other systems. What users build on is in `base`; the built-in ones lie beside it."""
