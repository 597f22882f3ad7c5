"""The servers that models run on, one file for each kind."""
