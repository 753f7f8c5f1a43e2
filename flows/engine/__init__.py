"""What is Prefect's: servers, task runners, artifacts, deployments, alerts, the wait for an approval."""
