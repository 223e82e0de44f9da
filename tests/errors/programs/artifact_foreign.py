"""A file of another program."""

import mlc

mlc.load("artifact_foreign.py")
# error: artifact_foreign.py:5: mlc.load("artifact_foreign.py")
# error: artifact_foreign.py is no mlc artifact: File is not a zip file
# error: hint: mlc.load reads what mlc compile PROGRAM.py writes
