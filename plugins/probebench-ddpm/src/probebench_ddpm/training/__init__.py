"""Training a network: data, loss, loop and files."""
