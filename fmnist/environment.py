"""What libraries take from the environment; imported before any of them.

How a server is reached is the user's to say. All else was meant for another program: runs would go on with its run,
belong to its model, wait in its queue, or be kept elsewhere by the server; Keras Tuner would wait for a server of its
own, and joblib start no processes. What changes numbers is taken away by `fmnist.training.libraries`.
"""

import os
import tempfile

_OTHERS = ("MLFLOW_", "_MLFLOW_", "KERASTUNER_", "JOBLIB_", "LOKY_")
_THE_USERS = (
    "MLFLOW_TRACKING_", "MLFLOW_HTTP_REQUEST_", "MLFLOW_S3_", "MLFLOW_GCS_", "MLFLOW_SQLALCHEMYSTORE_",
    "JOBLIB_TEMP_FOLDER", "LOKY_MAX_CPU_COUNT",
)  # fmt: skip
for _name in list(os.environ):
    if _name.startswith(_OTHERS) and not _name.startswith(_THE_USERS):
        del os.environ[_name]
if os.path.expanduser("~") == "~":  # noqa: PTH111  # MLflow cannot be imported without a home folder
    os.environ["HOME"] = tempfile.gettempdir()
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # nothing is told to anybody, whoever asked for that
os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"  # where tqdm is installed, bars would cut our tables
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # two lines at the end of every run
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # by itself it would try for minutes: our client waits
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
