"""A small world with known truth: Sentinel passes as COGs and STAC items."""
