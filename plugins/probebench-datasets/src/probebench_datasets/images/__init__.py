"""Images: decoding, the cache of decoded images, and splits."""
