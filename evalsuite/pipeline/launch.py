"""What a GPU run needs: memory and time of each training step, and the lines that begin it."""

from __future__ import annotations

from evalsuite.pipeline.sizes import known_size

__all__ = ["known_size"]
