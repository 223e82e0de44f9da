"""Artifacts: what a program exports becomes one file that runs without Python, and is loaded without tracing.

exporting records, building compiles and links, package writes and reads the file, loading runs it.
"""

from mlc.artifact.exporting import export
from mlc.artifact.loading import Artifact, ArtifactFunction, load

__all__ = ["Artifact", "ArtifactFunction", "export", "load"]
