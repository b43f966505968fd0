"""One run of the model: request, worker process, progress, end. Start at `run`."""
