"""Mappings of permit registers and zone lists: which column means what."""
