"""A job on a Ray cluster: `executor` is the side of the job's own process, `worker` what runs on the cluster."""
