"""Hardware, one part per module; nothing here knows what a gate is."""
