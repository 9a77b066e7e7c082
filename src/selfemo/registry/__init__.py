"""MLflow: runs, model versions and their cards; promotion, and Git brought in line with it."""
