"""Records: the schema and the JSON files of cells, and the provenance of a number."""
