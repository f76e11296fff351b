"""Networks: architecture, taps, random weights and input scaling."""
