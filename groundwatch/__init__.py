"""The groundwatch program: command line and wiring of the rooms."""
