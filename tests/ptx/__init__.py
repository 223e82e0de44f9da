"""PTX without a GPU: a reader of its text, a machine that runs grids in NumPy and checks what a GPU does not say."""
