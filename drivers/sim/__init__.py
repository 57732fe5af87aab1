"""The same parts simulated at the wire."""
