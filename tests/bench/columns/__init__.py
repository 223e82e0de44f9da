"""The training steps T1 to T3 as each of the compared libraries is meant to write them, one module a library."""
