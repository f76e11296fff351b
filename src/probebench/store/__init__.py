"""Files of a run on disk: features, neighbours and generated images."""
