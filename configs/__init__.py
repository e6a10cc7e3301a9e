"""Configuration that ships with groundwatch."""
