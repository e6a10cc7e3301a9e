"""From STAC items to passes: polls providers, groups scenes, publishes PassFound."""
