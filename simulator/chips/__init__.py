"""Training chips: small pieces of mining land with known labels, drawn by seed."""
