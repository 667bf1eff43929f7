"""What frames mean and which value wins: pure functions over bytes and rows, no I/O."""
