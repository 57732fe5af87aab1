"""Threads, queues and clocks around the pure core."""
