"""Errors, files, seeds and other basics. It imports no other package of probebench."""
