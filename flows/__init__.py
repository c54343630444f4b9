"""What an operator runs: one file a flow, the order of phases and the gates, and nothing else."""
