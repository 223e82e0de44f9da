"""Graph to Graph, Graph to Kernels, Kernels to Plan: every choice of the compiler is made here."""
