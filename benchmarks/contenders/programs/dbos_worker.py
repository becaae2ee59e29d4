"""Takes executions from the queue: `dbos_worker.py DATABASE_URL`. It says `worker ready`, and ends with SIGTERM."""

import signal
import sys

from dbos import DBOS
from dbos_workflow import POLL_SECONDS, QUEUE, launch

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before there are threads that could get it
    launch(sys.argv[1])
    DBOS.register_queue(QUEUE, polling_interval_sec=POLL_SECONDS)
    print("worker ready", flush=True)
    signal.sigwait([signal.SIGTERM])
