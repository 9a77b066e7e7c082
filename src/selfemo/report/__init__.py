"""What people look at: pages, tables, plots, and what Kubeflow's user interface shows."""
