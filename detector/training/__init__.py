"""Training, studies and evaluation of the networks; nothing here runs in production."""
