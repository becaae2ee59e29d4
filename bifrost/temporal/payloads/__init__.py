"""Values on their way to Temporal and back: as JSON, masked, encrypted, and stored outside where they are large."""
