"""``python -m braft_etcd``: the program ``braft-etcd``."""

import sys

from braft_etcd.dropin import main

sys.exit(main())
