"""Generated images, and the metrics that compare them with real ones."""
