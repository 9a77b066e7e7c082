"""What people look at: pages, tables, figures, and what Kubeflow's user interface shows."""
