"""From a program to C: mechanical and total.  Every decision was made before."""
