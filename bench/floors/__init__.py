"""The floors: the least that could do the same work, each a process of its own."""
