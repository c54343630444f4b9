"""What flows are made of: one retryable step each, named as the UI shows it.

What the product logs is what the Prefect UI shows of a run, so it is let through from INFO on.
"""

import logging

logging.getLogger("evergold").setLevel(logging.INFO)
