"""mlc: a compiler from machine-learning programs in Python to native code."""
