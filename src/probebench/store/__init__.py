"""The feature store: features, neighbours and generated images on disk."""
