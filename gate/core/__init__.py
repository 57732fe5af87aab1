"""What the gate knows without clock, input or output: evidence, rules, decisions, the actor."""
