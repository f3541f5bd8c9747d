"""`python -m imm_rl.cli`: the command `imm-rl` where a module is asked for, as by `torchrun -m`."""

import sys

from imm_rl.cli import main

sys.exit(main())
