"""Jobs of the service as RayJobs of KubeRay, by the Kubernetes API."""
