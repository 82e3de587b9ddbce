"""Compare the functions of `lnlib.distributed` with a single process; run it under torchrun."""

from lnlib.distributed import main

main()
