"""The embedded S3 (SeaweedFS) and MLflow of a laptop: started on demand, found again, stopped by name."""

from selfemo.services.embedded import Services, ensure, status, stop

__all__ = ["Services", "ensure", "status", "stop"]
