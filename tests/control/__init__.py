"""Control flow: loops and branches against Python's own, in NumPy f64."""
