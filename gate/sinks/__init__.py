"""Where records go once they are durable; a sink only reads the outbox and moves its acknowledged mark."""
