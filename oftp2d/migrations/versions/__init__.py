"""The steps, each with a number, the way up and the way down."""
