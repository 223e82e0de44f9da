"""What joins the C runtime to Python: the cffi build script and the one CPython C file."""
