"""An artifact that is not there."""

import mlc

mlc.load("no_such.mlc")
# error: artifact_missing.py:5: mlc.load("no_such.mlc")
# error: cannot read no_such.mlc: No such file or directory
# error: hint: mlc compile PROGRAM.py makes an artifact
