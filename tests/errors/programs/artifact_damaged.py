"""An artifact of which a byte changed on its way."""

import io
import json
import zipfile
from pathlib import Path

import mlc

held = io.BytesIO()
with zipfile.ZipFile(held, "w") as file:
    file.writestr("manifest.json", json.dumps({"kind": "mlc artifact", "format": 1}))
Path("damaged.mlc").write_bytes(held.getvalue().replace(b"artifact", b"artifice"))
try:
    mlc.load("damaged.mlc")
finally:
    Path("damaged.mlc").unlink()
# error: artifact_damaged.py:15: mlc.load("damaged.mlc")
# error: damaged.mlc: damaged manifest: its checksum differs
# error: hint: mlc compile PROGRAM.py makes it anew; a copy of it may be incomplete
