"""Real servers on loopback for the tests: each a context manager, each process ended by its id."""
