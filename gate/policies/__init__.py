"""The prevention plans, one file each."""
