"""`python -m orchestrator.cli` is `neutrino`."""

import sys

from orchestrator.cli.main import main

sys.exit(main())
