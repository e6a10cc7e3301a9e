"""How groundwatch grows: what a pass costs, measured; what a fleet does, simulated. See docs/scale.md."""
