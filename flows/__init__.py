"""Shell around mirl: the only code that touches DVC, Prefect and MLflow, with one entry point for each.

Importing this package keeps the three quiet on closed networks: they read these variables when they are imported, and
the programs started from here inherit them. Values that the user has set are kept.
"""

import os

QUIET = {
    "DO_NOT_TRACK": "true",  # the word: MLflow ignores 1
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven idle processes
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
}

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)
