"""Plugins: finding components and building them."""
