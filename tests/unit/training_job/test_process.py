"""The process that trains, as the worker starts it."""

import os

from training_job.process import start_child


def test_a_training_process_ends_with_its_worker_while_it_imports() -> None:
    connection, pid = start_child(os.environ)
    connection.close()
    # It would end with 0 if it went on to its jobs and saw only there that the worker is gone.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
