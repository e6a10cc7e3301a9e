"""groundwatch beside its peers, in one interleaved run, as ratios."""
