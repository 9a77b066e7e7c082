"""MLflow: runs, model versions and their cards; promotion, and Git made to agree with it."""
