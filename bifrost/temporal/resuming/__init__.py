"""Going on with what ended: points of a history, resets, and what they must leave as it was."""
