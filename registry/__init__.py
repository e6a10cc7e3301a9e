"""What every room agrees on: values, events, errors, settings, storage ports. Imports no other room."""
