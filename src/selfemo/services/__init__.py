"""The embedded S3 (SeaweedFS) and MLflow of a laptop: started on demand, found again, stopped by name."""

from selfemo.services.embedded import Services, ensure, kept, status, stop, weed
from selfemo.services.record import recorded

__all__ = ["Services", "ensure", "kept", "recorded", "status", "stop", "weed"]
