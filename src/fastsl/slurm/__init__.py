"""SLURM: scripts for ``sbatch``, and what its queue says of them. No daemon, no scheduler of our own."""
