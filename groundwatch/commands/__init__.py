"""The commands, by what people do: set up, name places, run, watch, one-off files, demo."""
