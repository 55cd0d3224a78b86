"""What several test folders share: real processes, started and ended."""
