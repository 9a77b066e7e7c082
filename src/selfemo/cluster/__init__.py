"""What needs Kubernetes: the one place that imports its client."""
