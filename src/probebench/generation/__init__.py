"""Generated images, and their metrics."""
