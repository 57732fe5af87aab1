"""The composition root: the only place that knows both the drivers and the gate."""
