"""What the machine decides: processors, threads, BLAS, the compile cache. Nothing else touches these."""
