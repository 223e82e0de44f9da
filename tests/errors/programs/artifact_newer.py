"""An artifact of a later mlc."""

import json
import zipfile
from pathlib import Path

import mlc

with zipfile.ZipFile("newer.mlc", "w") as file:
    manifest = {"kind": "mlc artifact", "format": 7, "compiler": {"mlc": "3.1"}}
    file.writestr("manifest.json", json.dumps(manifest))
try:
    mlc.load("newer.mlc")
finally:
    Path("newer.mlc").unlink()
# error: artifact_newer.py:13: mlc.load("newer.mlc")
# error: newer.mlc has format 7, made by mlc 3.1; this mlc reads formats up to 1
# error: hint: upgrade mlc, or compile the program again
