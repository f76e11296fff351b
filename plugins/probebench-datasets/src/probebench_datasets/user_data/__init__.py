"""Datasets of the user: folders of images, and Parquet files."""
