"""Features as the probes read them: standardised, whitened, or shaped as maps."""
