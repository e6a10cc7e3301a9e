"""Training plans that ship with groundwatch."""
