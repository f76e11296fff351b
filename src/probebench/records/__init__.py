"""Records: one JSON file for each cell."""
