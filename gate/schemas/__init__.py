"""JSON Schemas of everything that the gate publishes."""
