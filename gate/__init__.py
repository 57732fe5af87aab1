"""The service at the entrance."""
