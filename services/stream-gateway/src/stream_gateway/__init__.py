"""Holds client streams, delivers commands, correlates acks, makes reports durable."""
