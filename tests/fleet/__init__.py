"""A fleet of real processes on a real broker and object store, killed at random; see __main__.py."""
